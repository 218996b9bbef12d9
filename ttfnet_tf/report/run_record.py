"""Reads the record of a run from its work directory: settings, logged losses and metrics, machine. Data and weights are not needed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate_run import evaluation_folder, evaluation_settings, step_folder
from ttfnet_tf.json_text import integer, is_integer, is_number, read_json
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.runs.run_folder import flatten, read_labels, read_metrics, work_directory
from ttfnet_tf.training.patience import Patience

_REQUIRED_METRICS = ("AP", "AP50", "AP75")
_ENVIRONMENT = {"command": list, "devices": list, "packages": dict, "platform": str}  # what is of another type is left out


@dataclass(frozen=True, eq=False)
class Record:
    """The record of a run, or of an exported model, which has no logged losses.

    Attributes:
        name: of the folder.
        run: as named on the command line: work directory, checkpoint or exported model.
        folder: for the report and the evaluations.
        kind: "run" or "exported model".
        settings: dotted key -> value.
        class_names: in the order of the heatmap's channels.
        environment: content of environment.json, or what a model card has of it.
        training: lines of metrics.jsonl with losses.
        evaluations: lines of metrics.jsonl with AP.
        step: of the weights that are reported; None if there was no evaluation.
        evaluation: folder with detections.json of that step; it may not exist.
    """

    name: str
    run: Path
    folder: Path
    kind: str
    settings: Mapping[str, Any]
    class_names: tuple[str, ...]
    environment: Mapping[str, Any]
    training: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    step: int | None
    evaluation: Path | None

    @property
    def method(self) -> str:
        """Name of the detector for people."""
        return METHODS[self.settings["model.method"]].title

    @property
    def config_name(self) -> str | None:
        """Name of the configuration file without .yaml, from the command that started the run."""
        files = [part for part in self.environment.get("command") or () if str(part).endswith((".yaml", ".yml"))]
        return Path(files[0]).stem if files else None

    @property
    def command(self) -> str | None:
        """The command that started the run, quoted for a shell."""
        words = [str(word) for word in self.environment.get("command") or ()]
        if not words:
            return None
        program = Path(words[0])
        if program.parent.name == "tools":  # the same as the verb of that name
            start = ["ttfnet", program.stem]
        elif program.name == "__main__.py":  # python -m ttfnet_tf
            start = ["ttfnet"]
        else:
            start = ["python", program.name] if program.suffix == ".py" else [program.name]
        return shlex.join([*start, *words[1:]])

    @property
    def machine(self) -> str | None:
        """The accelerators, or the number of processors, and the operating system."""
        if not self.environment.get("platform"):
            return None
        system = str(self.environment["platform"]).partition("-")[0]
        names = [str(device).partition(" ")[2] for device in self.environment.get("devices") or () if "GPU" in str(device)]
        counted = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
        return f"{', '.join(counted) or str(self.environment.get('cpus')) + ' processors, no GPU'}; {system}"

    @property
    def epochs(self) -> tuple[float, float]:
        """(finished epochs, planned epochs)."""
        done = max([line["epoch"] for line in (*self.training, *self.evaluations)], default=0.0)
        if self.settings.get("train.minutes"):  # the clock decides
            return float(done), float(done)
        if steps := self.settings.get("train.steps"):
            lines = [line for line in (*self.training, *self.evaluations) if line["epoch"]]
            return float(done), steps * lines[-1]["epoch"] / lines[-1]["step"] if lines else 0.0
        return float(done), self.settings["train.epochs"]

    @property
    def is_finished(self) -> bool:
        """Whether it made all of its steps, or stopped early by its patience."""
        done, planned = self.epochs
        return done >= planned - 1e-6 or Patience(self.settings.get("train.patience", 0)).begin(self.evaluations)

    def hours_at(self, steps: Sequence[int]) -> list[float]:
        """Hours of training up to each step, without evaluation and start-up; from the logged speed if no time was logged."""
        at, hours, before, sum_of_hours = [0], [0.0], 0, 0.0
        for line in self.training:
            if line.get("images_per_second"):
                of_line = (line["step"] - before) * self.settings["train.batch_size"] / line["images_per_second"] / 3600
                sum_of_hours = line["training_seconds"] / 3600 if "training_seconds" in line else sum_of_hours + of_line
                before = line["step"]
                at.append(before)
                hours.append(sum_of_hours)
        return np.interp(steps, at, hours).tolist()

    @property
    def hours(self) -> float | None:
        """Hours of training so far, see `hours_at`; None if no speed was logged."""
        speeds = [line for line in self.training if line.get("images_per_second")]
        return self.hours_at([speeds[-1]["step"]])[0] if speeds else None

    @property
    def speed(self) -> float | None:
        """Median of the logged images per second."""
        speeds = [line["images_per_second"] for line in self.training if line.get("images_per_second")]
        return float(np.median(speeds)) if speeds else None

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The evaluation with the highest AP; of equals, the earliest."""
        return max(self.evaluations, key=lambda line: line["AP"], default=None)


def read_record(run: str | Path, overrides: Sequence[str] = ()) -> Record:
    """Reads the record of a run or of an exported model.

    Args:
        run: work directory, a checkpoint in it, or an exported model.
        overrides: key=value settings for the evaluation.

    Raises:
        UserError: it does not exist, or a file in it is damaged.
    """
    config, exported = evaluation_settings(run, overrides)
    settings = flatten(dataclasses.asdict(config))
    if exported:
        environment = {"packages": exported.card.get("versions", {}).get("training"), "commit": exported.card.get("commit")}
        folder = evaluation_folder(exported)
        name = f"{exported.card.get('name')} ({exported.path.name})"
        return Record(name, Path(run), folder, "exported model", settings, exported.class_names, environment, (), (), exported.step, folder)
    folder = work_directory(run)
    lines = read_metrics(folder)
    evaluations = [_checked(line, folder) for line in lines if "AP" in line]
    step = _step(Path(run), folder, evaluations)
    return Record(
        name=folder.resolve().name,
        run=Path(run),
        folder=folder,
        kind="run",
        settings=settings,
        class_names=read_labels(folder).class_names,
        environment=_read_environment(folder),
        training=[line for line in lines if "loss" in line],
        evaluations=evaluations,
        step=step,
        evaluation=None if step is None else step_folder(folder, step, config),
    )


def read_detections(folder: Path | None) -> tuple[list[dict], dict[str, Any]] | None:
    """Reads detections.json and metrics.json of an evaluation; None unless both exist.

    Raises:
        UserError: one of them is damaged.
    """
    if folder is None or not ((folder / "detections.json").is_file() and (folder / "metrics.json").is_file()):
        return None
    contents = []
    for name, check in (("detections.json", _are_detections), ("metrics.json", _are_metrics)):
        try:
            content = read_json(folder / name)
        except (OSError, ValueError):
            content = None
        if not check(content):
            raise UserError(f"{folder / name}: is damaged; delete it, and it is written again")
        contents.append(content)
    return contents[0], contents[1]


def _are_detections(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(one, dict) and _is_detection(one) for one in content)


def _is_detection(one: Mapping[str, Any]) -> bool:
    box = one.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
    return is_box and is_integer(one.get("image_id")) and is_integer(one.get("category_id")) and is_number(one.get("score"))


def _are_metrics(content: Any) -> bool:
    if not isinstance(content, dict) or not all(isinstance(content.get(key, {}), dict) for key in ("metrics", "per_class")):
        return False
    metrics, per_class = content.get("metrics", {}), content.get("per_class", {})
    return set(_REQUIRED_METRICS) <= set(metrics) and all(map(is_number, [*metrics.values(), *per_class.values()]))


def _checked(line: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    missing = [name for name in _REQUIRED_METRICS if name not in line]
    if missing:
        raise UserError(
            f"{folder / 'metrics.jsonl'}: the evaluation of step {line['step']} has no {missing[0]}; fix it or move the file away"
        )
    return line


def _step(run: Path, folder: Path, evaluations: Sequence[Mapping[str, Any]]) -> int | None:
    """The step of the checkpoint that `run` names, else of the best one by AP, else of the latest evaluation."""
    named = run.name.removesuffix(".index").rpartition("step-")[2]
    if run.resolve() != folder.resolve() and named.isdecimal():
        return int(named)
    record = folder / "checkpoints" / "best.json"
    if record.is_file():
        try:
            return integer(read_json(record)["step"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{record}: is damaged; delete it to use the latest checkpoint") from None
    stored = [int(path.name) for path in (folder / "eval").glob("*") if path.name.isdecimal()]
    return max([*stored, *(int(line["step"]) for line in evaluations)], default=None)


def _read_environment(folder: Path) -> dict[str, Any]:
    """The content of environment.json; empty if there is none."""
    try:
        content = read_json(folder / "environment.json")
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, _ENVIRONMENT.get(key, object))}
