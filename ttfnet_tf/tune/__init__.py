"""`ttfnet tune`: from a data set and a time to the best of a few settings, by trials that are ordinary runs."""
