"""Exports trained runs for other runtimes: SavedModel for TensorFlow Serving, TFLite for small devices."""
