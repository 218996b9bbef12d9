"""Files for TensorBoard: `run_log` has the names of the curves, `events` the format."""
