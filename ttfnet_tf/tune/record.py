"""tune.json of a study's folder: what was asked, what is tuned, and the time that all of its processes have used."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.fit.run import Request as FitRequest
from ttfnet_tf.json_text import integer, number, read_json
from ttfnet_tf.outputs import marked, written_by
from ttfnet_tf.tune.space import Tuned, as_json, from_json
from ttfnet_tf.tune.times import usual_trial_minutes

WRITER = "ttfnet tune"
RECORD, JOURNAL, FIT, TRIALS, TABLE, BEST = "tune.json", "study.journal", "fit", "trials", "trials.csv", "best.yaml"


@dataclasses.dataclass(frozen=True)
class Request(FitRequest):
    """What the user asked for; `minutes` are those of the study."""

    trial_minutes: float | None = None  # None is a twelfth of the study

    def content(self) -> dict[str, Any]:
        """What must be the same when a study goes on; it may get more time."""
        return {key: value for key, value in super().content().items() if key != "minutes"}

    def of_trial(self, minutes: float) -> FitRequest:
        """What `fit` is asked for one trial."""
        return FitRequest(self.source, minutes, self.from_format, self.images, self.overrides)


@dataclasses.dataclass
class Record:
    """The content of tune.json.

    Attributes:
        folder: of the study.
        asked: see `Request.content`.
        trial_minutes: of each trial.
        used: seconds of the study so far.
        space: the settings that are tuned; None before they are decided.
        running: number and seconds of a trial that has not ended.
    """

    folder: Path
    asked: dict[str, Any]
    trial_minutes: float
    used: float = 0.0
    space: list[Tuned] | None = None
    running: tuple[int, float] | None = None

    def write(self) -> None:
        """Writes the file.

        Raises:
            UserError: the folder cannot be written.
        """
        content = {
            **self.asked,
            "trial_minutes": self.trial_minutes,
            "used_seconds": round(self.used, 1),
            "space": None if self.space is None else as_json(self.space),
            "running": None if self.running is None else [self.running[0], round(self.running[1], 1)],
        }
        write_json(self.folder / RECORD, marked(WRITER, content))


def record_of(request: Request, folder: Path) -> Record:
    """The record of the same study, or a new one, which is not written yet.

    Raises:
        UserError: the folder holds a study of something else, or files that no study has written.
    """
    file = folder / RECORD
    if not file.exists():
        for name in (JOURNAL, FIT, TRIALS, TABLE, BEST, "config.yaml"):
            if os.path.lexists(folder / name):
                raise UserError(f"{folder / name}: exists and was not {written_by(WRITER)}; choose another --work-dir")
        return Record(folder, request.content(), request.trial_minutes or usual_trial_minutes(request.minutes))
    try:
        content = read_json(file)
        if content["written_by"] != WRITER:
            raise ValueError
        asked = {key: content[key] for key in request.content()}
        running, space = content["running"], content["space"]
        record = Record(
            folder,
            asked,
            number(content["trial_minutes"]),
            number(content["used_seconds"]),
            None if space is None else from_json(space),
            None if running is None else (integer(running[0]), number(running[1])),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"{file}: was not {written_by(WRITER)}, or is damaged; choose another --work-dir") from None
    now = {**request.content(), "trial_minutes": request.trial_minutes or record.trial_minutes}
    was = {**record.asked, "trial_minutes": record.trial_minutes}
    for key, value in now.items():
        if was[key] != value:
            raise UserError(
                f"{folder}: holds a study with {key} {was[key] if was[key] != [] else 'none'}, now it is "
                f"{value or 'none'}; repeat that command, or choose another --work-dir"
            )
    return record
