"""The resume rule: which settings may differ when a run resumes in its work directory.

Those that are free change how a run is watched, stored or placed, but not the numbers it computes. All others must be equal, and so must
the classes. A data set may move to another place if its annotations stay the same, byte by byte.

What a checkpoint holds is in `training.state`, how it is read in `runs.checkpoint`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.config import Config
from ttfnet_tf.errors import UserError
from ttfnet_tf.runs.run_folder import Labels, flatten, foreign_file, read_config, read_labels, split_fingerprint, stored_fingerprint

FREE_KEYS = {
    "data.broken_images",  # a run that was not stopped by a broken image has read none
    "data.cache",
    "data.service",
    "data.workers",
    "data.val.annotations",
    "data.val.images",
    "data.val.sets",
    "decode.score_threshold",
    "decode.top_k",
    "export.max_pixels",
    "model.sampler",  # up to rounding, as devices
    "targets.backend",  # likewise
    "train.checkpoint_every",
    "train.deterministic",
    "train.devices",
    "train.epochs",
    "train.steps",
    "train.explode_factor",  # a run that was not stopped by it has had no such step
    "train.on_divergence",
    "train.evaluate_batch_size",
    "train.evaluate_every",
    "train.jit_compile",
    "train.keep_checkpoints",
    "train.log_every",
    "train.log_to",
    "train.patience",
    "train.profile_steps",
    "train.report",
    "train.steps_per_call",
    "train.strategy",
    "train.summary_images",
}


_MOVABLE_KEYS = {"data.train.annotations", "data.train.images", "data.train.sets"}


def refuse_other_run(folder: str | Path, config: Config, labels: Labels, fingerprint: str | None = None) -> str | None:
    """Refuses to resume with other settings or classes; call it before `RunFolder`, which writes the new settings.

    Args:
        folder: work directory, which need not exist. Files of a start that failed before its first step are no run.
        config: settings of the run that is about to start.
        labels: classes of its training data.
        fingerprint: of its training annotations, see `run_folder.split_fingerprint`. A data set with the same annotations may have moved.

    Returns:
        A line to print if the data set has moved or its annotations have changed, else None.

    Raises:
        UserError: names the first setting that must not differ and does, or the classes of both, or a file that would be overwritten
            though no run has written it.
    """
    folder = Path(folder)
    if (foreign := foreign_file(folder)) is not None:
        raise UserError(f"{foreign}: was not written by a run and would be overwritten; move it away, or choose another --work-dir")
    config_of_run = config_of_begun_run(folder)
    if config_of_run is None:
        return None
    stored = flatten(dataclasses.asdict(config_of_run))
    fingerprint_of_run = stored_fingerprint(folder) or split_fingerprint(config_of_run.data.train)
    is_same_data = fingerprint is not None and fingerprint == fingerprint_of_run
    differ = {key: value for key, value in flatten(dataclasses.asdict(config)).items() if stored.get(key) != value}
    for key, value in differ.items():
        if key not in FREE_KEYS and not (key in _MOVABLE_KEYS and is_same_data):
            raise UserError(
                f"{folder}: holds a run with {key}={stored.get(key)}, this one has {key}={value}; "
                "resume with the same settings or choose another --work-dir"
            )
    if (folder / "labels.json").exists() and (stored_labels := read_labels(folder)) != labels:
        raise UserError(
            f"{folder}: holds a run with {len(stored_labels.class_names)} classes {_some(stored_labels.class_names)}, the annotations have "
            f"{len(labels.class_names)} {_some(labels.class_names)}; choose another --work-dir"
        )
    if moved := sorted(_MOVABLE_KEYS & set(differ)):
        return f"note: the training data have moved, with the same annotations: {', '.join(f'{key}={differ[key]}' for key in moved)}"
    if None not in (fingerprint, fingerprint_of_run) and not is_same_data:
        files = " + ".join(one.annotations for one in config.data.train.files)
        return f"note: {files} has changed since this run began; the run continues with what it holds now"
    return None


def config_of_begun_run(folder: str | Path) -> Config | None:
    """The settings of the run that a work directory holds, None where there is none or none of its steps was made.

    Raises:
        UserError: its config.yaml does not load.
    """
    folder = Path(folder)
    if foreign_file(folder) is not None or not (folder / "config.yaml").exists() or not _has_begun(folder):
        return None
    return read_config(folder)


def _has_begun(folder: Path) -> bool:
    """Whether there is something to lose."""
    return (folder / "metrics.jsonl").exists() or any(folder.glob("checkpoints/step-*"))


def _some(names: Sequence[str]) -> str:
    return "(" + ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") + ")"
