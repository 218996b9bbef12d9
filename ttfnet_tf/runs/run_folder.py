"""The work directory of a run: its files, written and read.

config.yaml         settings, resolved
data.json           {"train": {"sha256": of the training annotations}}, to know a data set that has moved
labels.json         {"class_names": [...], "category_ids": [...]}, in the order of the heatmap's channels
environment.json    versions, devices, command and commit of the latest start
metrics.jsonl       one JSON object a line; a number that is not finite is null
repeat.yaml         of a finished run with train.minutes: settings that repeat it without a clock
checkpoints/        the latest ones, and best/ by AP
train/ eval/ time/  events for TensorBoard; eval/<step>/ holds detections.json
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.config import Config, SplitConfig, dump_config, load_stored
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, remove, remove_left_over, sync_file, sync_folder, write_json, write_text
from ttfnet_tf.json_text import is_integer, is_number, json_text, parse_json, read_json, short_json
from ttfnet_tf.locations import is_url, location
from ttfnet_tf.runs.environment import environment
from ttfnet_tf.runs.remote_run import fetched

_MARK = "# Written by ttfnet: the complete settings of this run."
REPEAT = "repeat.yaml"
_WRITTEN = ("labels.json", "environment.json", "data.json", "metrics.jsonl")  # after config.yaml
_FORMER_TEMPORARY = re.compile(r"\.(config\.yaml|labels\.json|environment\.json|metrics\.jsonl?|detections\.json|report\.html)\.\d+")


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
        fingerprint: of its training annotations, see `data_fingerprint`.
        writes: False for the workers of a multi-worker run that are not the chief.

    Raises:
        UserError: the directory cannot be written.
    """

    def __init__(self, path: str | Path, config: Config, labels: Labels, *, fingerprint: str | None = None, writes: bool = True):
        self.path = Path(path)
        self.writes = writes
        if not writes:
            return
        make_work_directory(self.path)
        _write_config(self.path / "config.yaml", dump_config(config))
        write_text(self.path / "labels.json", json_text(dataclasses.asdict(labels), indent=1))
        write_text(self.path / "environment.json", json_text(environment(), indent=1))
        if fingerprint is not None and fingerprint != stored_fingerprint(self.path):
            write_json(self.path / "data.json", {"train": {"sha256": fingerprint}})

    def write_repeat(self, config: Config) -> None:
        """Writes repeat.yaml: settings that repeat a run with `train.minutes` without a clock."""
        if self.writes:
            write_text(self.path / REPEAT, f"# Repeats this run step by step: ttfnet train {REPEAT} --work-dir DIR\n{dump_config(config)}")

    def remove_rubbish(self) -> None:
        """Removes what a killed process has left behind, but in `checkpoints/`; call it only while no other process writes."""
        if self.writes:
            for parent, folders, names in os.walk(self.path):
                folders[:] = [name for name in folders if name != "checkpoints"]
                remove_left_over(Path(parent), again=True)
                for name in names:
                    file = Path(parent, name)
                    is_empty_log = name.startswith("events.out.tfevents.") and file.exists() and not file.stat().st_size
                    if is_empty_log or _FORMER_TEMPORARY.fullmatch(name):
                        remove(file)

    def sync_metrics(self) -> None:
        """Waits until metrics.jsonl is on the disk.

        Raises:
            UserError: it cannot be written.
        """
        file = self.path / "metrics.jsonl"
        if self.writes and file.exists():
            try:
                sync_file(file)
                sync_folder(self.path)
            except OSError as error:
                raise cannot_write(file, error) from None

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl.

        Raises:
            UserError: it cannot be written.
        """
        if self.writes:
            try:
                with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                    file.write(json_text(line, ascii_only=True) + "\n")
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
                kept = [line for line in _whole_lines(file) if _metrics_of(line)["step"] <= step]
            except ValueError:
                raise UserError(f"{file}: holds a line that training has not written; fix it or move the file away") from None
            write_text(file, "".join(kept))

    def texts(self) -> dict[str, str]:
        """The definition of the run, to be read: "config", "environment" and "command"."""
        start = read_json(self.path / "environment.json")
        command = shlex.join(start.pop("command"))
        config = (self.path / "config.yaml").read_text(encoding="utf-8")
        return {"config": config, "environment": json_text(start, indent=1), "command": command}

    def evaluation(self, step: int) -> Path:
        """Folder of the evaluation at `step`, which may not exist yet."""
        return self.path / "eval" / str(step)


def make_work_directory(path: Path) -> None:
    """Makes a work directory if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --work-dir") from None


def _write_config(file: Path, content: str) -> None:
    """Writes the settings unless they are there."""
    if not file.exists() or file.read_text(encoding="utf-8", errors="replace").removeprefix(f"{_MARK}\n") != content:
        write_text(file, f"{_MARK}\n{content}")


def foreign_file(path: Path) -> Path | None:
    """A file in `path` that a run there would overwrite though no run has written it; None if there is none."""
    file = path / "config.yaml"
    if not file.exists():
        return next((path / name for name in _WRITTEN if (path / name).exists()), None)
    if all((path / name).exists() for name in ("labels.json", "environment.json")):
        return None
    try:  # killed before those two were written, or by a version before the mark
        text = file.read_text(encoding="utf-8")
        is_ours = text.startswith(_MARK) or text == dump_config(load_stored(file))
    except (OSError, ValueError, UserError):
        is_ours = False
    return None if is_ours else file


def split_fingerprint(split: SplitConfig) -> str | None:
    """The `data_fingerprint` of the annotation file, or one of several files and their repeats; None if one cannot be read."""
    digests = [data_fingerprint(one.annotations) for one in split.files]
    if not digests or None in digests:
        return None
    if not split.sets:
        return digests[0]
    text = "".join(f"{digest} {one.repeat}\n" for digest, one in zip(digests, split.sets))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def data_fingerprint(annotations: str | Path) -> str | None:
    """SHA-256 of an annotation file; None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        if is_url(annotations):
            return hashlib.sha256(location(annotations).read_bytes()).hexdigest()
        with open(annotations, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def stored_fingerprint(path: Path) -> str | None:
    """The fingerprint of the training annotations that data.json of a work directory holds; None if there is none."""
    try:
        return str(read_json(path / "data.json")["train"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def work_directory(run: str | Path) -> Path:
    """The work directory of a run or of one checkpoint in it, found by its files alone, without TensorFlow.

    Raises:
        UserError: there is nothing, or nothing that training has written.
    """
    path = fetched(str(run)) if is_url(run) else Path(run)
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
        return labels_of(read_json(file))
    except (OSError, ValueError):
        raise UserError(f"{file}: is missing or broken; name a work directory that training has written") from None


def labels_of(content: Any) -> Labels:
    """Labels from the content of a labels.json: names that are texts, and as many different ids.

    Raises:
        ValueError: it is something else.
    """
    names, ids = (content.get(key) if isinstance(content, dict) else None for key in ("class_names", "category_ids"))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("has no list class_names of texts")
    if not isinstance(ids, list) or len(ids) != len(names) or not all(is_integer(one) for one in ids) or len(set(ids)) < len(ids):
        raise ValueError("has no list category_ids of as many different numbers")
    return Labels(tuple(names), tuple(ids))


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Settings of a work directory, with `key=value` overrides.

    Raises:
        UserError: there is none, or its config.yaml does not load, or an override is wrong.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: holds no config.yaml; name a work directory that training has written")
    return load_stored(path / "config.yaml", overrides)


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that a kill cut short is skipped. Empty where there is no such file.

    A number that was not finite is null in the file, or NaN in older ones; here it is NaN.

    Raises:
        UserError: the file holds something else.
    """
    file = Path(run) / "metrics.jsonl"
    if not file.exists():
        return []
    try:
        return [_metrics_of(line) for line in _whole_lines(file)]
    except ValueError:
        raise UserError(f"{file}: holds a line that training has not written; fix it or move the file away") from None


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}} -> {"optim.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _metrics_of(line: str) -> dict[str, Any]:
    """One line of metrics.jsonl.

    Raises:
        ValueError: training does not write such a line.
    """
    content = parse_json(line)
    if not isinstance(content, dict) or not is_integer(content.get("step")) or not is_number(content.get("epoch")):
        raise ValueError("has no step or no epoch")
    found = {key: math.nan if value is None else value for key, value in content.items()}
    of_type = {"divergence": str, "per_class": dict}
    for key, value in found.items():
        if not (isinstance(value, of_type[key]) if key in of_type else isinstance(value, float) or is_number(value)):
            raise ValueError(f"{key} is {short_json(value)}")
    return found


def _whole_lines(file: Path) -> list[str]:
    """Lines that end in a newline; a kill during a write leaves half a line at the end."""
    return [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
