"""`tune`: decides as `fit` does, then tries other settings around that, one run after the other, until the time is over.

A study's folder holds tune.json (what was asked, and the time used), fit/ (what `fit` decides, with its data), study.journal (Optuna's),
trials/NNN/ (the runs), trials.csv and best.yaml.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ttfnet_tf.config import Config, dump_config, load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.fit.decide import MachineFacts
from ttfnet_tf.fit.run import RECORD as FIT_RECORD
from ttfnet_tf.fit.run import SETTINGS as FIT_SETTINGS
from ttfnet_tf.fit.run import checked_settings, named_keys, settings_of_fit
from ttfnet_tf.formats.records import Progress
from ttfnet_tf.json_text import read_json
from ttfnet_tf.progress import working
from ttfnet_tf.runs.lock import RunLock
from ttfnet_tf.runs.run_folder import REPEAT, make_work_directory
from ttfnet_tf.training.stop import StopRequest
from ttfnet_tf.tune.record import FIT, JOURNAL, Record, Request, record_of
from ttfnet_tf.tune.results import TRIAL, best_average_precision, remove_rubbish, run_folder, write_results
from ttfnet_tf.tune.space import affordable_sizes, centre_of, overrides_of, space_of
from ttfnet_tf.tune.times import Times, mark_passed
from ttfnet_tf.tune.trial_process import OUTPUT, Ended, machine_of_process, reason_of, run_process
from ttfnet_tf.tune.trials import Study, Trial, best_of

_RECORDED_EVERY = 5.0  # seconds, which a kill costs the clock
_HOPELESS = 3  # trials that fail before any has ended well
_LOCKED = 60.0  # seconds that a run may take to save after its study was killed

Say = Callable[[str], object]


@dataclasses.dataclass
class _Tuning:
    """One call of `tune`, everything prepared."""

    record: Record
    times: Times
    study: Study
    config: Path  # of the centre
    say: Say
    used: Callable[[], float]  # seconds of the study
    run: Callable[..., Ended]  # see `trial_process.run_process`
    stop: StopRequest
    recorded: float = 0.0

    def go_on(self) -> bool:
        """Makes trials until the time is over; False where it was asked to stop."""
        while not self.stop.requested:
            trials = self.study.trials()
            self.times.longest = max([0.0, *(60 * one.minutes for one in trials if one.state == "done")])
            trial = next((one for one in trials if one.state == "running"), None)
            done = 0.0 if trial is None else self._seconds_of(trial)
            if trial is not None and (run := run_folder(self.record.folder, trial)).joinpath(REPEAT).exists():
                self._end(self._judged(trial, Ended(0, 0.0, None), run, done))  # killed between its end and that of its row
                continue
            if not self.times.can_begin(self.used(), done):
                if trial is None:
                    return True
                self._end(dataclasses.replace(trial, state="failed", minutes=done / 60, reason="the time ended before it could resume"))
                continue
            if trial is None:
                trial = self.study.begin()
                about = f": {' '.join(overrides_of(trial.values))}" if trial.number else ": what ttfnet fit decides"
            else:
                about = " resumes"
            self.say(f"trial {trial.number:03d}{about}")
            with working(f"trial {trial.number:03d}"):
                ended = self._make(trial, done)
            if ended is None:
                return False
            self._end(ended)
        return False

    def _seconds_of(self, trial: Trial) -> float:
        """What a trial has used before, by its checkpoint; without one it begins anew."""
        has_checkpoint = (run_folder(self.record.folder, trial) / "checkpoints/checkpoint").exists()
        running = self.record.running
        return running[1] if has_checkpoint and running is not None and running[0] == trial.number else 0.0

    def _make(self, trial: Trial, done: float) -> Trial | None:
        """Runs a trial; returns how it ended, None where the study was asked to stop."""
        run = run_folder(self.record.folder, trial)
        try:
            _write_settings(run / TRIAL, self.config, trial)
        except UserError as error:  # a combination that no rule allows
            return dataclasses.replace(trial, state="failed", reason=str(error))
        if run.joinpath(".lock").exists():
            _wait_for_lock(run)
        marks = list(trial.marks)

        def watch(seconds: float) -> str | None:
            self._note(trial, done + seconds)
            if self.stop.requested:
                return "stop"
            if self.times.is_late(self.used(), seconds):
                return "late"
            mark = mark_passed(done + seconds, self.times.trial, marks)
            average_precision = None if mark is None else best_average_precision(run)
            if mark is None or average_precision is None:
                return None
            marks.append(mark)
            return f"at {mark} %" if self.study.report(trial, mark, average_precision) else None

        ended = self.run(run / TRIAL, run, watch)
        self._note(trial, done + ended.seconds, now=True)
        if ended.asked == "stop" and ended.code:
            return None
        return self._judged(trial, ended, run, done + ended.seconds)

    def _judged(self, trial: Trial, ended: Ended, run: Path, seconds: float) -> Trial:
        """A trial that has ended, with its state, figures and reason."""
        found = best_average_precision(run)
        trial = dataclasses.replace(trial, average_precision=found, minutes=seconds / 60)
        if not ended.code and found is not None:
            return dataclasses.replace(trial, state="done")
        if not ended.code:
            return dataclasses.replace(trial, state="failed", reason="no AP, because the validation images have no boxes")
        if ended.asked == "late":
            return dataclasses.replace(trial, state="failed", reason="took longer than its time")
        if ended.asked is not None:
            return dataclasses.replace(trial, state="pruned", reason=f"{ended.asked} of its time below the median of the trials before")
        remove_rubbish(run)  # its process may have been killed, and is not started again
        return dataclasses.replace(trial, state="failed", reason=reason_of(ended, run))

    def _end(self, trial: Trial) -> None:
        """Keeps a trial and what follows from it."""
        self.study.end(trial)
        self.record.running = None
        self._note(None, 0.0, now=True)
        trials = self.study.trials()
        write_results(self.record.folder, trials, self.record.space or [])
        best, minutes = best_of(trials), f"{trial.minutes:.1f} minutes"
        if trial.state == "done":
            is_best = "  (best)" if best is not None and best.number == trial.number else ""
            self.say(f"trial {trial.number:03d}: AP {trial.average_precision:.3f} after {minutes}{is_best}")
            return
        self.say(f"trial {trial.number:03d}: {trial.state} after {minutes}: {trial.reason}")
        if best is None and sum(one.state == "failed" for one in trials) >= _HOPELESS:
            output = run_folder(self.record.folder, trial) / OUTPUT
            raise UserError(f"{self.record.folder}: {_HOPELESS} trials have failed and none has ended well: {trial.reason}; see {output}")

    def _note(self, trial: Trial | None, seconds: float, *, now: bool = False) -> None:
        """Writes the seconds of study and trial, where some have passed."""
        self.record.used = self.used()
        if trial is not None:
            self.record.running = trial.number, seconds
        if now or self.record.used - self.recorded >= _RECORDED_EVERY:
            self.recorded = self.record.used
            self.record.write()


def tune(
    request: Request,
    folder: Path,
    *,
    started: float,
    say: Say,
    progress: Progress,
    study_of: Callable[..., Study],
    run: Callable[..., Ended] = run_process,
    measure: Callable[[], MachineFacts] = machine_of_process,
) -> tuple[Record, Sequence[Trial], bool]:
    """Makes the trials of a study, or goes on with it.

    Args:
        request: of the user.
        folder: of the study.
        started: when this command began, by `time.monotonic`.
        say: gets each line.
        progress: shows progress over a list.
        study_of: `optuna_study.OptunaStudy`.
        run: see `trial_process.run_process`.
        measure: what the machine can do.

    Returns:
        The record, every trial, and whether the study is complete; False where it was asked to stop.

    Raises:
        UserError: the data cannot be used, a setting is wrong, or the folder holds something else.
    """
    record = record_of(request, folder)
    given = checked_settings(request.overrides)
    make_work_directory(folder)
    with RunLock(folder):
        before = record.used

        def used() -> float:
            return before + time.monotonic() - started

        record.write()
        config = _centre(request, record, say=say, progress=progress, measure=measure)
        space = record.space or []
        if not space:
            raise UserError(f"{folder}: every setting that is tuned was set by key=value; leave one of them out")
        study = study_of(folder / JOURNAL, space, centre_of(config, space), seed=given.train.seed)
        times = Times(60 * request.minutes, 60 * record.trial_minutes)
        say(f"tunes {', '.join(one.key for one in space)}; trials of {record.trial_minutes:g} min, {request.minutes:g} min in all")
        with StopRequest() as stop:
            tuning = _Tuning(record, times, study, folder / FIT / FIT_SETTINGS, say, used, run, stop)
            complete = tuning.go_on()
        record.used = used()
        record.write()
        trials = study.trials()
        if trials:
            write_results(folder, trials, space)
        return record, trials, complete


def _centre(request: Request, record: Record, *, say: Say, progress: Progress, measure: Callable[[], MachineFacts]) -> Config:
    """What `fit` decides for one trial; with it the space, where the record has none yet."""
    folder = record.folder / FIT
    fit = request.of_trial(record.trial_minutes)
    if record.space is not None:
        return settings_of_fit(fit, folder, say=say, progress=progress)
    machine = measure()
    config = settings_of_fit(fit, folder, say=say, progress=progress, machine=machine)
    facts = read_json(folder / FIT_RECORD)["facts"]
    batch = config.train.batch_size
    height, width = facts["image_size"]
    sizes = affordable_sizes(config.data.size, (height, width), minutes=record.trial_minutes, batch_size=batch, machine=machine)

    def is_allowed(override: str) -> bool:
        try:
            load_config(folder / FIT_SETTINGS, [override])
        except UserError:
            return False
        return True

    named = named_keys(request.overrides)
    record.space = space_of(config, named=named, sizes=sizes, train_images=facts["train_images"], is_allowed=is_allowed)
    record.write()
    return config


def _write_settings(file: Path, centre: Path, trial: Trial) -> None:
    """The settings of a trial as an ordinary configuration; those of the first are the centre's own.

    Raises:
        UserError: no rule allows them together.
    """
    overrides = overrides_of(trial.values) if trial.number else []
    about = f"Trial {trial.number:03d} of ttfnet tune: {' '.join(overrides) or 'what ttfnet fit decides'}"
    write_text(file, f"# {about}\n{dump_config(load_config(centre, overrides))}")


def _wait_for_lock(run: Path) -> None:
    """Waits for a run that is about to end, because its study was killed."""
    deadline = time.monotonic() + _LOCKED
    while True:
        try:
            with RunLock(run):
                return
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
