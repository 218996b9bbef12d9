"""The systems of the ledger: what each installs, which driver trains it, and which starts and input sizes it takes.

docs/benchmarks/minutes_to_ap.md says what each is.
"""

from __future__ import annotations

from dataclasses import dataclass

TORCH = ("torch==2.14.1", "torchvision==0.29.1")


@dataclass(frozen=True)
class System:
    """One row of the table below."""

    driver: str  # file in peers/
    settings: dict  # for the driver
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (name of an environment, packages), each on top of the one before; () is ours
    starts: tuple[str, ...] = ("none",)
    takes_size: bool = True  # whether --size can replace its own input size


_OURS = {"driver": "ours.py", "starts": ("none", "imagenet")}
_TORCHVISION = {"driver": "torchvision_detectors.py", "layers": (("torch", TORCH),), "takes_size": False, "starts": ("none", "imagenet")}
_ULTRALYTICS = {"driver": "ultralytics_yolo.py", "layers": (("torch", TORCH), ("ultralytics", ("ultralytics==8.4.190",)))}

SYSTEMS = {
    "official": System(settings={"recipe": "official"}, **_OURS),
    "fast": System(settings={"recipe": "fast"}, **_OURS),
    "fit": System(settings={"recipe": "fit"}, **_OURS),
    "ultralytics-yolo26n": System(settings={"model": "yolo26n.yaml"}, **_ULTRALYTICS),
    "ultralytics-yolo11n": System(settings={"model": "yolo11n.yaml"}, **_ULTRALYTICS),
    "torchvision-ssdlite": System(settings={"model": "ssdlite320_mobilenet_v3_large"}, **_TORCHVISION),
    "torchvision-fasterrcnn": System(settings={"model": "fasterrcnn_mobilenet_v3_large_320_fpn"}, **_TORCHVISION),
    "keras-cv-retinanet": System(driver="keras_cv_detectors.py", settings={"model": "retinanet"}),
    "keras-cv-yolov8": System(driver="keras_cv_detectors.py", settings={"model": "yolov8"}),
}
