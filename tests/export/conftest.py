"""A small run and its SavedModel for the tests of this folder."""

from exported_run import exported, files, narrow, trained

__all__ = ["exported", "files", "narrow", "trained"]
