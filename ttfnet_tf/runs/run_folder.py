"""The work directory of a run: what lies in it, and what may be in it already.

config.yaml         settings, resolved
labels.json         {"class_names": [...], "category_ids": [...]}, in the order of the heatmap's channels
environment.json    versions, devices, command and commit of the latest start
metrics.jsonl       one JSON object a line
checkpoints/        the latest ones, and best/ by AP
train/ eval/ time/  events for TensorBoard; eval/<step>/ holds detections.json
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from ttfnet_tf.config import Config, dump_config, load_stored
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, write_text

# Settings that change how a run is watched, stored or placed, but not the numbers it computes: free to differ when it resumes.
_FREE_KEYS = {
    "data.broken_images",  # a run that was not stopped by one has read none
    "data.workers",
    "data.val.annotations",
    "data.val.images",
    "decode.score_threshold",
    "decode.top_k",
    "export.max_pixels",
    "train.checkpoint_every",
    "train.devices",
    "train.epochs",
    "train.explode_factor",  # a run that was not stopped by it has had no such step
    "train.on_divergence",
    "train.evaluate_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.profile_steps",
    "train.report",
    "train.steps_per_call",
    "train.strategy",
    "train.summary_images",
}
_PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "pycocotools", "omegaconf", "ttfnet_tf")


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names and COCO category ids of the classes, in the order of the heatmap's channels."""

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


class RunFolder:
    """A work directory, made or checked at construction.

    Args:
        path: the directory; made if missing.
        config: settings of the run that is about to start or go on.
        labels: classes of its training data.
        writes: False for the workers of a multi-worker run that are not the chief.

    Raises:
        UserError: the directory cannot be written, or holds a run with other settings or classes. What a start leaves that failed
            before its first step is no run.
    """

    def __init__(self, path: str | Path, config: Config, labels: Labels, *, writes: bool = True):
        self.path = Path(path)
        self.writes = writes
        if (self.path / "config.yaml").exists() and _has_begun(self.path):
            _refuse_other_run(self.path, config, labels)
        if not writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); choose another --work-dir") from None
        write_text(self.path / "config.yaml", dump_config(config))
        write_text(self.path / "labels.json", json.dumps(dataclasses.asdict(labels), ensure_ascii=False, indent=1))
        write_text(self.path / "environment.json", json.dumps(_environment(), indent=1))

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Adds one line to metrics.jsonl.

        Raises:
            UserError: it cannot be written.
        """
        if self.writes:
            try:
                with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                raise cannot_write(self.path / "metrics.jsonl", error) from None

    def drop_metrics_after(self, step: int) -> None:
        """Removes the lines of later steps, which a resumed run is about to write again.

        Raises:
            UserError: the file holds something else.
        """
        file = self.path / "metrics.jsonl"
        if self.writes and file.exists():
            try:
                kept = [line for line in _whole_lines(file) if json.loads(line)["step"] <= step]
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{file}: holds a line that training has not written; mend it or move the file away") from None
            write_text(file, "".join(kept))

    def texts(self) -> dict[str, str]:
        """What defines the run, for people: "config", "environment" and "command"."""
        environment = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        command = shlex.join(environment.pop("command"))
        config = (self.path / "config.yaml").read_text(encoding="utf-8")
        return {"config": config, "environment": json.dumps(environment, indent=1), "command": command}

    def evaluation(self, step: int) -> Path:
        """Folder of the evaluation at `step`; who writes into it makes it."""
        return self.path / "eval" / str(step)


def work_directory(run: str | Path) -> Path:
    """The work directory of a run or of one checkpoint in it, by its files alone: TensorFlow need not be there.

    Raises:
        UserError: nothing there, or nothing that training has written.
    """
    path = Path(run)
    for folder in (path, path.parent.parent, path.parent.parent.parent):
        if (folder / "config.yaml").is_file():
            return folder
    if not path.exists() and not path.with_name(f"{path.name}.index").exists():
        raise UserError(f"{run}: no such run or checkpoint; name a work directory that training has written")
    raise UserError(f"{run}: holds no config.yaml; name a work directory that training has written")


def read_labels(path: Path) -> Labels:
    """Labels of a work directory.

    Raises:
        UserError: the file is missing or is not what training writes.
    """
    file = path / "labels.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Labels(tuple(content["class_names"]), tuple(content["category_ids"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is missing or broken; name a work directory that training has written") from None


def read_config(path: Path) -> Config:
    """Settings of a work directory.

    Raises:
        UserError: there is none, or its config.yaml does not load.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: holds no config.yaml; name a work directory that training has written")
    return load_stored(path / "config.yaml")


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that a kill cut short is left out. Empty where there is no such file.

    Raises:
        UserError: the file holds something else.
    """
    file = Path(run) / "metrics.jsonl"
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in _whole_lines(file)]
    except ValueError:
        raise UserError(f"{file}: holds a line that training has not written; mend it or move the file away") from None


def _has_begun(path: Path) -> bool:
    """Whether there is something to lose."""
    return (path / "metrics.jsonl").exists() or any(path.glob("checkpoints/step-*"))


def _refuse_other_run(path: Path, config: Config, labels: Labels) -> None:
    stored = flatten(dataclasses.asdict(read_config(path)))
    for key, value in flatten(dataclasses.asdict(config)).items():
        if key not in _FREE_KEYS and stored.get(key) != value:
            raise UserError(
                f"{path}: holds a run with {key}={stored.get(key)}, this one has {key}={value}; "
                "resume with the same settings or choose another --work-dir"
            )
    if (path / "labels.json").exists() and (stored_labels := read_labels(path)) != labels:
        raise UserError(
            f"{path}: holds a run with {len(stored_labels.class_names)} classes {_some(stored_labels.class_names)}, the annotations have "
            f"{len(labels.class_names)} {_some(labels.class_names)}; choose another --work-dir"
        )


def _some(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") + ")"


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}} -> {"optim.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _whole_lines(file: Path) -> list[str]:
    """Lines that end in a newline; a kill while writing leaves half a line at the end."""
    return [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _environment() -> dict[str, Any]:
    import tensorflow as tf

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [f"{device.name} {_device_name(tf, device)}" for device in tf.config.list_physical_devices()],
        "packages": versions,
    }


def _device_name(tf, device) -> str:
    return tf.config.experimental.get_device_details(device).get("device_name", device.device_type)


def _commit() -> str | None:
    """Commit of the clone that this package runs from; None outside a clone."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
