"""TTFNet object detection on TensorFlow 2.

    from ttfnet_tf import Detector

    detector = Detector.load("runs/my_run")
    detections = detector("picture.jpg")

Importing the package does not import TensorFlow; the first use of `Detector` does.
"""

from typing import Any

__version__ = "0.1.0.dev0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from ttfnet_tf.detector import Detector

        return Detector
    raise AttributeError(f"module 'ttfnet_tf' has no attribute '{name}'")
