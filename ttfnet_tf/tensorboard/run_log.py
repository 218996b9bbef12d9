"""The curves, images and texts of a run in TensorBoard, and their names; docs/tensorboard.md explains them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.evaluation.evaluate import EvaluationResult
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.tensorboard.events import EventLog

FOLDERS = ("train", "eval", "time")  # of the event files, below the work directory
CURVE_THRESHOLDS = np.linspace(0, 1, 101)  # of score

# Key in metrics.jsonl -> name in TensorBoard, factor, description; the parts of the loss come from the method.
_LINE = {
    "loss": ("loss/total", 1, "Sum of the losses with their factors; mean since the last line."),
    "lr": ("lr", 1, "Learning rate of the last step."),
    "gradient_norm": ("grad_norm", 1, "Global L2 norm of the gradient before clipping; mean since the last line."),
    "positives": ("samples/positives", 1, "Peaks of the heatmap in an image; mean."),
    "regression_samples": ("samples/regression", 1, "Cells that regress a box in an image; mean."),
    "ambiguous": ("samples/ambiguous_pct", 100, "Cells of several sub-areas, in % of all cells of sub-areas; mean over images."),
    "images_per_second": ("speed/images_per_s", 1, "Images per second, without evaluation and saving."),
    "data_wait": ("speed/data_wait_pct", 100, "Time that a step waited for its batch, in % of the training time."),
}
_NOTES = {name: note for name, _, note in _LINE.values()}
_NOTES |= {
    "memory/rss_mb": "Resident memory of the process in MB (2^20 bytes).",
    "memory/gpu_peak_mb": "Largest memory that TensorFlow has used on any GPU so far, in MB (2^20 bytes).",
    "time/AP": "AP against training time: the step counts SECONDS of training, 3600 are an hour.",
    "time/AP50": "AP50 against training time: the step counts SECONDS of training, 3600 are an hour.",
    "time/loss": "Training loss against training time: the step counts SECONDS of training, 3600 are an hour.",
}
_LAYOUT = {
    "How the run is doing": {
        "AP": [r"coco/AP$", r"coco/AP50$", r"coco/AP75$"],
        "AP against seconds of training": [r"time/AP$", r"time/AP50$"],
        "loss": [r"loss/.*"],
        "learning rate": [r"lr$"],
        "gradient norm": [r"grad_norm$"],
        "speed: images per second": [r"speed/images_per_s$"],
    },
    "Data": {
        "samples of an image": [r"samples/positives$", r"samples/regression$"],
        "ambiguous cells, %": [r"samples/ambiguous_pct$"],
        "waiting for data, %": [r"speed/data_wait_pct$"],
        "memory, MB": [r"memory/.*"],
    },
    "Precision": {
        "by size": [r"coco/AP[sml]$"],
        "average recall": [r"coco/AR.*"],
        "by class": [r"coco_class/.*"],
    },
}
# Columns of the HParams table: the settings that people vary; all are stored. TensorBoard sorts them by name and ticks the first five.
_COLUMNS = (
    "data.image_size",
    "model.backbone",
    "model.method",
    "optim.lr",
    "optim.name",
    "optim.weight_decay",
    "targets.area",
    "targets.beta",
    "targets.weight",
    "train.batch_size",
    "train.epochs",
    "train.precision",
    "train.seed",
)
_METRICS = {"AP": "eval/coco/AP", "AP50": "eval/coco/AP50", "AP75": "eval/coco/AP75", "loss": "train/loss/total"}


class RunLog:
    """The event files of a work directory; nothing is written before `begin`.

    Args:
        folder: the work directory.
        writes: False makes every method do nothing (workers other than the chief).
        also: gets the scalars too: (folder of the events, step, {name: value}).
    """

    def __init__(self, folder: Path, *, writes: bool = True, also: Callable[[str, int, Mapping[str, float]], None] | None = None):
        self._folder, self._writes = folder, writes
        self._also = also if writes and also is not None else _nowhere
        self._logs: dict[str, EventLog] = {}
        self._line, self._notes = dict(_LINE), dict(_NOTES)
        self._last_evaluation = -1  # step of the last AP on the time axis
        self._last_tick = 0  # second of training of the last loss on the time axis

    def begin(self, step: int, seconds: float, *, settings: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        """Opens the files; what a killed run wrote after `step` becomes void.

        Args:
            step: steps done so far, 0 at the start.
            seconds: of training so far.
            settings: of the run, with dotted keys.
            texts: shown under their names, e.g. the resolved configuration.

        Raises:
            UserError: the folder cannot be written.
        """
        first = {"train": step + 1, "eval": step + 1, "time": _ticks(seconds) + 1}
        if step == 0:
            first = dict.fromkeys(first, 0)
        self._last_tick = self._last_evaluation = _ticks(seconds)
        method = METHODS[settings["model.method"]]
        losses = {**method.losses, **method.teacher_losses}
        self._line |= {key: (f"loss/{key.removesuffix('_loss')}", 1, note) for key, note in losses.items()}
        self._notes |= {name: note for name, _, note in self._line.values()}
        self._logs = {name: EventLog(self._folder / name, first_step=first[name], writes=self._writes) for name in FOLDERS}
        for name, content in texts.items():
            self._logs["train"].text(step, name, content)
        self._logs["train"].layout(_LAYOUT)
        # In the work directory itself: the table takes the scalars from its sub-folders.
        table = EventLog(self._folder, first_step=0, writes=self._writes)
        values = {key: value if isinstance(value, (bool, int, float)) else _as_text(value) for key, value in settings.items()}
        table.hparams(self._folder.name, values, [key for key in _COLUMNS if key in values], _METRICS)
        table.close()

    def line(self, step: int, values: Mapping[str, float], memory: Mapping[str, float]) -> None:
        """Scalars of a line of metrics.jsonl, by its keys; "training_seconds" is the place of the loss on the time axis."""
        scalars = {self._line[key][0]: value * self._line[key][1] for key, value in values.items() if key in self._line}
        scalars |= {f"memory/{name}": value for name, value in memory.items()}
        self._logs["train"].scalars(step, scalars, self._notes)
        self._also("train", step, scalars)
        tick = _ticks(values["training_seconds"])
        if tick > self._last_tick:  # several lines a second would be several values of one step
            self._logs["time"].scalars(tick, {"time/loss": values["loss"]}, self._notes)
            self._last_tick = tick

    def evaluation(self, step: int, seconds: float, result: EvaluationResult, images: Mapping[str, np.ndarray]) -> None:
        """Figures, curves and images of an evaluation.

        Args:
            step: steps done.
            seconds: of training so far.
            result: of the evaluation.
            images: uint8 [H, W, 3] by name.
        """
        scalars = {f"coco/{name}": value for name, value in result.metrics.items() if value > -1}
        scalars |= {f"coco_class/{name}": value for name, value in result.per_class.items() if value > -1}
        self._logs["eval"].scalars(step, scalars, self._notes)
        self._also("eval", step, scalars)
        by_time = {f"time/{name}": result.metrics[name] for name in ("AP", "AP50") if result.metrics[name] > -1}
        self._last_evaluation = max(_ticks(seconds), self._last_evaluation + 1)  # toy runs evaluate twice a second
        self._logs["time"].scalars(self._last_evaluation, by_time, self._notes)
        for name, of_class in result.matches.classes.items():
            if of_class.num_objects:
                correct, wrong = of_class.counts(CURVE_THRESHOLDS)
                self._logs["eval"].curve(step, f"AP50/{name}", correct=correct, wrong=wrong, num_objects=of_class.num_objects)
        self._logs["eval"].images(step, images)

    def sync(self) -> None:
        """Waits until everything is on the disk, where readers see it."""
        for log in self._logs.values():
            log.sync()

    def close(self) -> None:
        """Ends the files."""
        for log in self._logs.values():
            log.close()
        self._logs = {}


def _nowhere(group: str, step: int, values: Mapping[str, float]) -> None:
    """For a run without further logs."""


def memory_now() -> dict[str, float]:
    """ "rss_mb" of this process where the system reports it, and "gpu_peak_mb", the largest of all GPUs, where there is one."""
    import tensorflow as tf

    memory = {}
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        memory["rss_mb"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    peaks = [tf.config.experimental.get_memory_info(device.name)["peak"] for device in tf.config.list_logical_devices("GPU")]
    if peaks:
        memory["gpu_peak_mb"] = max(peaks) / 2**20
    return memory


def _ticks(seconds: float) -> int:
    return int(seconds)


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)
