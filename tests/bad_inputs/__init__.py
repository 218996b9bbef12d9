"""The rows of `cli/test_bad_input.py`, by kind: {name: (command, change of the folder or None, line)}."""
