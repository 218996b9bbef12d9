"""A client of exported models in TensorFlow Serving: requests, detections, latencies, and a comparison with the run."""
