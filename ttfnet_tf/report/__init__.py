"""The run report: one HTML file that says what a run did, how good its detector is, and what it gets wrong."""
