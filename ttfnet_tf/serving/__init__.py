"""Asking an exported model that TensorFlow Serving holds: requests, answers, times, and whether they are those of the run."""
