"""The published tables: their cells, runs of them, and what these came to beside what was published."""
