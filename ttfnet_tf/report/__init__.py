"""The run report: one HTML file with the training curves, the metrics and the errors of a run."""
