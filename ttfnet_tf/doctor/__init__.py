"""What is wrong with a data set, and what training will do about it; docs/check.md lists every kind of finding."""
