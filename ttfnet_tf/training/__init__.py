"""Training: `run` builds everything from settings, `loop` runs it, `step` is one step."""
