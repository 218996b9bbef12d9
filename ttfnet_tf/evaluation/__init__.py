"""Evaluation: COCO metrics of a detector on a data set, and which detection matched which object."""
