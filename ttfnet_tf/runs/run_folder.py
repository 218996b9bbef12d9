"""The work directory of a run: its files, written and read.

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
import shlex
from pathlib import Path
from typing import Any

from ttfnet_tf.config import Config, dump_config, load_stored
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, write_text
from ttfnet_tf.runs.environment import environment


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names and COCO category ids of the classes, in the order of the heatmap's channels."""

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


class RunFolder:
    """A work directory, made or updated at construction. `resume.refuse_other_run` says whether a run may start in it.

    Args:
        path: the directory; made if missing.
        config: settings of the run that is about to start or resume.
        labels: classes of its training data.
        writes: False for the workers of a multi-worker run that are not the chief.

    Raises:
        UserError: the directory cannot be written.
    """

    def __init__(self, path: str | Path, config: Config, labels: Labels, *, writes: bool = True):
        self.path = Path(path)
        self.writes = writes
        if not writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); choose another --work-dir") from None
        write_text(self.path / "config.yaml", dump_config(config))
        write_text(self.path / "labels.json", json.dumps(dataclasses.asdict(labels), ensure_ascii=False, indent=1))
        write_text(self.path / "environment.json", json.dumps(environment(), indent=1))

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl.

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
                raise UserError(f"{file}: holds a line that training has not written; fix it or move the file away") from None
            write_text(file, "".join(kept))

    def texts(self) -> dict[str, str]:
        """The definition of the run, to be read: "config", "environment" and "command"."""
        start = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        command = shlex.join(start.pop("command"))
        config = (self.path / "config.yaml").read_text(encoding="utf-8")
        return {"config": config, "environment": json.dumps(start, indent=1), "command": command}

    def evaluation(self, step: int) -> Path:
        """Folder of the evaluation at `step`, which may not exist yet."""
        return self.path / "eval" / str(step)


def work_directory(run: str | Path) -> Path:
    """The work directory of a run or of one checkpoint in it, found by its files alone, without TensorFlow.

    Raises:
        UserError: there is nothing, or nothing that training has written.
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
    """The lines of a run's metrics.jsonl; a last line that a kill cut short is skipped. Empty where there is no such file.

    Raises:
        UserError: the file holds something else.
    """
    file = Path(run) / "metrics.jsonl"
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in _whole_lines(file)]
    except ValueError:
        raise UserError(f"{file}: holds a line that training has not written; fix it or move the file away") from None


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}} -> {"optim.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _whole_lines(file: Path) -> list[str]:
    """Lines that end in a newline; a kill during a write leaves half a line at the end."""
    return [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
