"""From a trained run to files that other runtimes load: SavedModel for TensorFlow Serving, TFLite for small devices."""
