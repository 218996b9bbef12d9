"""A small run for the tests of this folder."""

from exported_run import narrow, trained

__all__ = ["narrow", "trained"]
