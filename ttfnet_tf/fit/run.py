"""`fit`: prepares the data, decides, writes the settings, trains, and ends with report and export.

The work directory holds, beside what training writes: fit.json (what was asked), fit.yaml (the settings that were decided, an ordinary
configuration), data/ (converted annotations and the split) and export/.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.config import Config, config_of, dump_config, load_config
from ttfnet_tf.config.schema import list_settings, value_of, with_value
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import remove, write_json, write_text
from ttfnet_tf.fit.decide import DataFacts, Decision, MachineFacts, decide, too_little
from ttfnet_tf.fit.describe import describe_data
from ttfnet_tf.fit.prepare import prepare
from ttfnet_tf.formats.records import Progress
from ttfnet_tf.json_text import read_json
from ttfnet_tf.outputs import marked, written_by
from ttfnet_tf.runs.lock import RunLock
from ttfnet_tf.runs.run_folder import make_work_directory, read_metrics

AFTER = 2.4  # report and export take, in units of the first call of the training step
_WRITER = "ttfnet fit"
RECORD, SETTINGS = "fit.json", "fit.yaml"
_DATA, _EXPORT = "data", "export"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for."""

    source: Path
    minutes: float
    from_format: str | None = None
    images: Path | None = None
    overrides: Sequence[str] = ()  # key=value

    def content(self) -> dict[str, Any]:
        """What must be the same when a fit goes on."""
        return {
            "data": str(self.source.absolute()),
            "minutes": self.minutes,
            "from": self.from_format,
            "images": None if self.images is None else str(self.images.absolute()),
            "settings": list(self.overrides),
        }


@dataclasses.dataclass(frozen=True)
class Result:
    """How a call ended."""

    finished: bool  # False when it was asked to stop; the same call goes on
    step: int
    metrics: Mapping[str, float]  # of the weights that are exported
    report: Path | None = None
    model: Path | None = None


def settings_of_fit(
    request: Request,
    work_dir: Path,
    *,
    say: Callable[[str], object],
    progress: Progress,
    machine: MachineFacts | None = None,
) -> Config:
    """The settings of a run: those of `work_dir` where the same fit has begun there, else decided and written.

    Args:
        request: of the user.
        work_dir: of the run.
        say: gets one line for each decision.
        progress: shows progress over a list.
        machine: what it can do; measured where it is None.

    Raises:
        UserError: the data cannot be used, a setting is wrong, or the directory holds something else.
    """
    _begun(request, work_dir)  # before anything is written
    given = checked_settings(request.overrides)
    make_work_directory(work_dir)
    with RunLock(work_dir):  # two that decide at the same time would not agree
        begun = _begun(request, work_dir)
        if begun is None:
            return _decided(request, work_dir, given, say=say, progress=progress, machine=machine)
    say(f"{work_dir}: goes on with the settings in {work_dir / SETTINGS}")
    return begun


def _decided(
    request: Request,
    work_dir: Path,
    given: Config,
    *,
    say: Callable[[str], object],
    progress: Progress,
    machine: MachineFacts | None,
) -> Config:
    """Prepares the data, decides, and writes record and settings; the settings last, since with them it is complete."""
    write_json(work_dir / RECORD, marked(_WRITER, {**request.content(), "complete": False}))
    remove(work_dir / SETTINGS)  # an earlier version wrote them first
    prepared = prepare(
        request.source,
        work_dir / _DATA,
        from_format=request.from_format,
        images=request.images,
        seed=given.train.seed,
        seconds=60 * request.minutes,
        progress=progress,
    )
    for line in prepared.lines:
        say(line)
    names = ("classes", "crowd", "min_box_size", "min_image_size")
    facts = describe_data(prepared, work_dir / _DATA, **{name: getattr(given.data, name) for name in names})
    if warning := too_little(facts.boxes_of_class):
        say(warning)
    values: dict[str, Any] = {
        "data.train.annotations": str(prepared.train.annotations),
        "data.train.images": str(prepared.train.images),
        "data.val.annotations": str(prepared.val.annotations),
        "data.val.images": str(prepared.val.images),
        "train.minutes": float(request.minutes),
    }
    named, lines = named_keys(request.overrides), []
    for decision in _decisions(facts, request, given, machine):
        kept = named & set(decision.values)
        lines.append(decision.line + (f" (you set {', '.join(sorted(kept))})" if kept else ""))
        say(lines[-1])
        values.update(decision.values)
    config = _with_values(values, request.overrides)
    about = {"train_images": facts.train_images, "image_size": list(facts.image_size)}
    write_json(work_dir / RECORD, marked(_WRITER, {**request.content(), "complete": True, "facts": about}))
    comments = "".join(f"# {line}\n" for line in ("Decided and written by ttfnet fit.", *lines))
    write_text(work_dir / SETTINGS, comments + dump_config(config))
    return config


def train_and_export(config: Config, work_dir: Path, *, started: float) -> Result:
    """Trains, or goes on, within `train.minutes` from `started`, and writes report and SavedModel."""
    from ttfnet_tf.training.run import run_training
    from ttfnet_tf.training.time_budget import RunTime

    result = run_training(config, work_dir, RunTime(started, AFTER))
    if not result.finished:
        return Result(False, result.step, {})

    from ttfnet_tf.export.saved_model import export_saved_model
    from ttfnet_tf.report.write_report import write_report
    from ttfnet_tf.runs.checkpoint import load_run

    report = write_report([work_dir])
    name, folder = _model_name(work_dir), work_dir / _EXPORT
    loaded = load_run(work_dir)
    written = [path for path in (folder / name).glob("*") if path.name.isdecimal()]
    model = max(written, key=lambda path: int(path.name)) if written else export_saved_model(loaded, folder, name=name)
    return Result(True, result.step, _figures(work_dir, loaded.step), report, model)


def _model_name(work_dir: Path) -> str:
    """The name of the work directory, with - in the place of what no model name may have."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", work_dir.resolve().name).lstrip("-_.") or "model"


def _figures(work_dir: Path, step: int) -> Mapping[str, float]:
    """Of the evaluation of a step.

    Where the run was killed after its best checkpoint and resumed from an earlier one, metrics.jsonl has its line no more.
    """
    lines = [line for line in read_metrics(work_dir) if line["step"] == step and "AP" in line]
    if lines:
        return lines[-1]
    try:
        return dict(read_json(work_dir / "eval" / str(step) / "metrics.json")["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _decisions(facts: DataFacts, request: Request, given: Config, machine: MachineFacts | None) -> list[Decision]:
    """What follows from the data, this machine and what the user has named."""
    if machine is None:
        from ttfnet_tf.fit.machine import describe_machine

        machine = describe_machine()
    named, batch_size = named_keys(request.overrides), given.train.batch_size
    return decide(
        facts,
        machine,
        minutes=request.minutes,
        pretrained=given.model.pretrained,
        is_detector=is_detector(given.model.pretrained),
        image_size=given.data.size if "data.image_size" in named else None,
        batch_size=batch_size if "train.batch_size" in named and batch_size > 0 else None,
    )


def is_detector(pretrained: str | None) -> bool:
    """Whether these weights are a run, a checkpoint or a SavedModel; anything else is taken for a backbone."""
    if pretrained is None:
        return False
    from ttfnet_tf.weights.exported import saved_model_folder
    from ttfnet_tf.weights.load import is_run

    return is_run(pretrained) or saved_model_folder(pretrained) is not None


def named_keys(overrides: Sequence[str]) -> set[str]:
    """Their keys."""
    return {override.partition("=")[0] for override in overrides}


def _begun(request: Request, work_dir: Path) -> Config | None:
    """The settings of the same fit, None where there is none.

    Raises:
        UserError: the directory holds a fit of something else, or a run that no fit has begun.
    """
    record = work_dir / RECORD
    if not record.exists():
        for name in ("config.yaml", SETTINGS, _DATA, _EXPORT):
            if os.path.lexists(work_dir / name):
                raise UserError(f"{work_dir / name}: exists and was not {written_by(_WRITER)}; choose another --work-dir")
        return None
    try:
        content = read_json(record)
        if content["written_by"] != _WRITER:
            raise ValueError
        if not content["complete"] or not os.path.lexists(work_dir / SETTINGS):  # killed before it had decided
            return None
        differs = next((key for key, value in request.content().items() if content[key] != value), None)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{record}: was not {written_by(_WRITER)}, or is damaged; choose another --work-dir") from None
    if differs is not None:
        was = content[differs]
        raise UserError(
            f"{work_dir}: holds a fit with {differs} {was if was != [] else 'none'}, now it is "
            f"{request.content()[differs] or 'none'}; repeat that command, or choose another --work-dir"
        )
    return load_config(work_dir / SETTINGS)


def checked_settings(overrides: Sequence[str]) -> Config:
    """The built-in settings with those of the user, which are checked before any work.

    Raises:
        UserError: one is wrong, or belongs to an option of this command.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key in ("train.minutes", "train.epochs", "train.steps"):
            raise UserError(f"override '{override}': the time decides how long it trains; set --minutes")
        if key.startswith(("data.train", "data.val")):
            raise UserError(f"override '{override}': the data are those of DATA; name the folder of their images with --images")
    try:
        return load_config(os.devnull, ["optim.schedule=trapezoid", *overrides])
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{os.devnull}: ")) from None


def _with_values(values: Mapping[str, Any], overrides: Sequence[str]) -> Config:
    """The settings with what was decided, and with those of the user over it.

    Raises:
        UserError: no rule allows them together.
    """
    config = Config()
    known = {setting.key for setting in list_settings()}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"decided on {key}, which is no setting")
        config = with_value(config, key, value)
    named = named_keys(overrides)
    tree: dict[str, Any] = {}
    for key in values:
        if key not in named:
            *sections, name = key.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value_of(config, key)
    try:
        return config_of(tree, overrides, source=_WRITER)
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{_WRITER}: ")) from None
