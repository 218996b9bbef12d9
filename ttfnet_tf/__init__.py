"""TTFNet object detection on TensorFlow 2.

    from ttfnet_tf import Detector

    detector = Detector.load("runs/my_run")
    detections = detector("image.jpg")

Importing the package does not import TensorFlow; the first use of `Detector` does.
"""

import os
from typing import Any

from ttfnet_tf.quiet_import import import_quietly, wants_everything

# TensorFlow turns oneDNN on by itself only for processors with AVX-512 VNNI or AMX; those with AVX2 gain as well. It looks once, when it is
# imported, so this holds where the package came first; a user's own setting stays.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# TensorFlow takes all memory of every GPU at its first operation; with this it takes what it needs, so that other processes fit beside it.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

# What TensorFlow's libraries print while they are loaded. TF_CPP_MIN_LOG_LEVEL=0 shows it.
if not wants_everything():
    import_quietly()

__version__ = "0.1.0.dev0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from ttfnet_tf.inference.detector import Detector

        return Detector
    raise AttributeError(f"module 'ttfnet_tf' has no attribute '{name}'")
