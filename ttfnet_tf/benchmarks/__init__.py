"""Benchmarks: time of training, detection, video and exported models, and what each exported form costs in accuracy."""
