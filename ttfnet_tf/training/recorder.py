"""What a run writes and prints while it trains: metrics.jsonl, events for TensorBoard, progress and messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ttfnet_tf.data.pipeline import ImageNotes
from ttfnet_tf.evaluation.evaluate import EvaluationResult
from ttfnet_tf.progress import ProgressMeter
from ttfnet_tf.runs.run_folder import RunFolder, read_metrics
from ttfnet_tf.tensorboard.run_log import RunLog, memory_now
from ttfnet_tf.training.clock import TrainingClock, seconds_before
from ttfnet_tf.training.intervals import Intervals
from ttfnet_tf.training.tracking import Tracking


class RunRecorder:
    """The log of one run, as a context manager. Every process may call every method; only the one that writes the folder writes files.

    Args:
        folder: work directory.
        intervals: of the run.
        notes: collects problems of images, which become messages.
        batch_size: images of a step.
        settings: of the run, with dotted keys, for TensorBoard.
        step: steps done when the run starts or resumes; later lines are dropped.
        tracking: another place of the curves, if there is one.
    """

    def __init__(
        self,
        folder: RunFolder,
        intervals: Intervals,
        notes: ImageNotes,
        *,
        batch_size: int,
        settings: Mapping[str, Any],
        step: int,
        tracking: Tracking | None = None,
    ):
        self.folder, self.intervals, self.notes, self.settings, self._start = folder, intervals, notes, settings, step
        self._tracking = tracking if folder.writes else None
        self.log = RunLog(folder.path, writes=folder.writes, also=None if tracking is None else tracking.scalars)
        self._has_ended = False
        self.meter = ProgressMeter("train", intervals.total_steps, start=step, images_per_step=batch_size)
        self.clock = TrainingClock(0.0, step, batch_size)
        self._losses: dict[str, float] = {}  # of the last line, for the live progress

    def __enter__(self) -> RunRecorder:
        self.folder.drop_metrics_after(self._start)
        self.clock.seconds = seconds_before(read_metrics(self.folder.path))
        if self._tracking is not None:
            self._tracking.begin(self.settings, self.message)
        self._open_log(self._start)
        self.meter.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.meter.__exit__(*error)
        self.log.close()
        if self._tracking is not None:
            self._tracking.end("FINISHED" if self._has_ended else "FAILED" if error and error[0] is not None else "KILLED")

    def ended(self) -> None:
        """Notes that the run is complete, and not just stopped."""
        self._has_ended = True

    def progress(self, step: int, lr: float) -> None:
        """Shows that `step` steps are done."""
        self.meter.update(step, {"epoch": f"{self.intervals.epoch(step):.1f}", **self._losses, "lr": lr})

    def message(self, text: str) -> None:
        """Prints a line."""
        self.meter.message(text)

    def new_notes(self) -> None:
        """Prints what was newly noticed about images."""
        for line in self.notes.new_lines():
            self.message(f"note: {line}")

    def line(self, step: int, means: Mapping[str, float], lr: float) -> None:
        """Writes a line of training: the metrics as means since the last line; nothing where there are none."""
        times = self.clock.lap(step)
        if not means:  # every step since the last line was skipped
            return
        self._losses = {name.removesuffix("_loss"): value for name, value in means.items() if name.endswith("loss")}
        line = {"step": step, "epoch": self.intervals.epoch(step), **means, "lr": lr, **times}
        self.folder.append_metrics(line)
        self.log.line(step, line, memory_now())
        self.progress(step, lr)

    def evaluation(self, step: int, result: EvaluationResult, images: Mapping[str, np.ndarray]) -> None:
        """Writes the result of an evaluation; `images` are shown in TensorBoard."""
        result.write(self.folder.evaluation(step))
        line = {"step": step, "epoch": int(self.intervals.epoch(step)), **result.metrics, "per_class": result.per_class}
        self.folder.append_metrics({**line, "training_seconds": round(self.clock.seconds, 3)})
        self.log.evaluation(step, self.clock.seconds, result, images)

    def evaluated(self, step: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """Prints the figures of an evaluation."""
        if metrics["AP"] < 0:  # nothing to measure
            figures = "no AP, because the validation images have no boxes"
        else:
            figures = "  ".join(f"{name} {metrics[name]:.3f}" for name in ("AP", "AP50", "AP75"))
        self.message(f"epoch {round(self.intervals.epoch(step), 1):g}: {figures}{'  (best)' if is_best else ''}")

    def divergence(self, step: int, decision: str) -> None:
        """Writes that the bad step that ended as number `step` was skipped or rolled back."""
        self.folder.append_metrics({"step": step, "epoch": self.intervals.epoch(step), "divergence": decision})

    def go_back(self, step: int) -> None:
        """Drops what was written after `step`, to which the run has gone back."""
        self.folder.drop_metrics_after(step)
        self.log.close()
        if self._tracking is not None:
            self._tracking.go_back()
        self._open_log(step)
        self.clock.restart(step)

    def sync(self) -> None:
        """Waits until all that was written so far is on the disk."""
        self.folder.sync_metrics()
        self.log.sync()

    def _open_log(self, step: int) -> None:
        texts = self.folder.texts() if self.folder.writes else {}
        self.log.begin(step, self.clock.seconds, settings=self.settings, texts=texts)
