"""Reproduces the published tables: their cells, training runs of them, and measured beside published figures."""
