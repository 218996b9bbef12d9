"""Weights of other programs: files, names, downloads, and their way into a network and back."""
