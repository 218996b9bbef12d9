"""The data check: what is wrong with a data set, what training does about it, and what to do; docs/check.md lists every finding."""
