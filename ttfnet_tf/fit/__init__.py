"""`ttfnet fit`: from a data set and a time to a trained detector, without settings."""
