"""Event files of TensorBoard, written by its own writer: scalars, images, text, precision-recall curves, HParams, a layout.

A run that is resumed writes a new file into the same folder. Its first event says from which step on earlier files are void
(`SessionLog.START`, which TensorBoard's Python reader obeys); TensorBoard's data server drops later steps of a name as soon as an earlier
one comes. So nothing is shown twice, whichever of them reads.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as curve_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import sync_file

FLUSH_SECONDS = 10  # what a kill may lose
_JPEG_QUALITY = 92
_SECOND = re.compile(r"events\.out\.tfevents\.(\d+)\.")  # in a file's name, when it was begun


class EventLog:
    """One folder of event files.

    Args:
        folder: made if missing.
        first_step: this and later steps in earlier files of the folder are void; None for a folder without earlier files.
        writes: False makes every method do nothing (workers other than the chief).

    Raises:
        UserError: the folder cannot be written, by any method.
    """

    def __init__(self, folder: Path, *, first_step: int | None = None, writes: bool = True):
        self._folder = folder
        self._writer: EventFileWriter | None = None
        if writes:
            try:
                if first_step is not None:
                    _wait_for_a_later_name(folder)
                self._writer = EventFileWriter(str(folder), flush_secs=FLUSH_SECONDS)
            except Exception as error:  # TensorFlow's file system has errors of its own
                raise _cannot_write(folder, error) from None
        if first_step is not None:
            self._add(event_pb2.Event(step=first_step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float], notes: Mapping[str, str] | None = None) -> None:
        """Writes `values` under their names; `notes` are descriptions that TensorBoard shows for some of them, such as units."""
        summary = summary_pb2.Summary()
        for name, value in values.items():
            metadata = scalar_metadata.create_summary_metadata("", (notes or {}).get(name, ""))
            summary.value.add(tag=name, tensor=tensor_util.make_tensor_proto(np.float32(value)), metadata=metadata)
        self._write(step, summary)

    def images(self, step: int, panels: Mapping[str, np.ndarray]) -> None:
        """Writes uint8 [H, W, 3] RGB images as JPEG, one for each name."""
        for name, panel in panels.items():
            if self._writer is not None:
                quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                data = cv2.imencode(".jpg", np.ascontiguousarray(panel[..., ::-1]), quality)[1].tobytes()
                content = [str(panel.shape[1]).encode(), str(panel.shape[0]).encode(), data]
                metadata = image_metadata.create_summary_metadata("", "")
                self._write(step, _summary(name, tensor_util.make_tensor_proto(content, dtype=np.object_), metadata))

    def text(self, step: int, name: str, content: str) -> None:
        """Writes `content` as preformatted text."""
        self._write(step, text_pb(name, "\n".join("    " + line for line in content.splitlines())))

    def curve(self, step: int, name: str, *, correct: np.ndarray, wrong: np.ndarray, num_objects: int) -> None:
        """Writes a precision-recall curve.

        Args:
            step: step.
            name: e.g. "AP50/cat".
            correct: [T] detections that match an object, by ascending score threshold; the T thresholds divide 0..1 evenly.
            wrong: [T] the other detections.
            num_objects: objects in the ground truth.
        """
        correct, wrong = np.asarray(correct, np.float32), np.asarray(wrong, np.float32)
        precision = correct / np.maximum(correct + wrong, 1)
        precision[correct + wrong == 0] = 1.0  # no detections, no wrong ones
        rows = (correct, wrong, np.zeros_like(correct), num_objects - correct, precision, correct / max(num_objects, 1))
        metadata = curve_metadata.create_summary_metadata(name, "", len(correct))
        self._write(step, _summary(f"{name}/pr_curves", tensor_util.make_tensor_proto(np.stack(rows)), metadata))

    def hparams(self, group: str, values: Mapping[str, bool | float | str], shown: Sequence[str], metrics: Mapping[str, str]) -> None:
        """Writes the entry of a run in the HParams table.

        Args:
            group: name of the run; entries of one name are shown as one.
            values: settings.
            shown: those that are columns of the table.
            metrics: title -> name of a scalar below this folder, e.g. "AP" -> "eval/coco/AP": sub-folder, then name.
        """
        columns = [api_pb2.HParamInfo(name=name, type=_hparam_type(values[name])) for name in shown]
        infos = []
        for title, place in metrics.items():
            folder, _, name = place.partition("/")
            infos.append(api_pb2.MetricInfo(name=api_pb2.MetricName(group=folder, tag=name), display_name=title))
        experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=infos, time_created_secs=time.time())
        start = plugin_data_pb2.SessionStartInfo(group_name=group, start_time_secs=time.time())
        for name, value in values.items():
            kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(start.hparams[name], kind, value)
        for tag, content in (
            (hparams_metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment)),
            (hparams_metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
        ):
            self._write(0, _summary(tag, hparams_metadata.NULL_TENSOR, hparams_metadata.create_summary_metadata(content)))

    def layout(self, categories: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Writes the layout of the page Custom Scalars: category -> title of a chart -> regular expressions of names."""
        layout = layout_pb2.Layout()
        for title, charts in categories.items():
            category = layout.category.add(title=title)
            for name, tags in charts.items():
                category.chart.add(title=name, multiline=layout_pb2.MultilineChartContent(tag=tags))
        tensor = tensor_util.make_tensor_proto(layout.SerializeToString(), dtype=np.object_)
        self._write(0, _summary(layout_metadata.CONFIG_SUMMARY_TAG, tensor, layout_metadata.create_summary_metadata()))

    def flush(self) -> None:
        """Makes everything visible to a reader now."""
        if self._writer is not None:
            try:
                self._writer.flush()
            except Exception as error:
                raise _cannot_write(self._folder, error) from None

    def sync(self) -> None:
        """Waits until everything is on the disk."""
        self.flush()
        if self._writer is not None:
            with contextlib.suppress(OSError):  # a folder on a remote file system of TensorFlow
                for file in self._folder.glob("events.out.tfevents.*"):
                    sync_file(file)

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self.flush()
            self._writer.close()
            self._writer = None

    def _write(self, step: int, summary: summary_pb2.Summary) -> None:
        self._add(event_pb2.Event(step=step, summary=summary))

    def _add(self, event: event_pb2.Event) -> None:
        if self._writer is not None:
            event.wall_time = time.time()
            try:
                self._writer.add_event(event)
            except Exception as error:  # from the thread that writes
                raise _cannot_write(self._folder, error) from None


def _summary(tag, tensor, metadata):
    summary = summary_pb2.Summary()
    summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
    return summary


def _hparam_type(value):
    return {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}.get(type(value), api_pb2.DATA_TYPE_FLOAT64)


def _wait_for_a_later_name(folder: Path) -> None:
    """Waits, for a second at most, until the name of a new file comes after those in a folder.

    Readers take files in the order of their names, which have the second of the start and then numbers that may descend.
    """
    seconds = [int(match[1]) for path in folder.glob("events.out.tfevents.*") if (match := _SECOND.match(path.name))]
    while int(time.time()) == max(seconds, default=0):
        time.sleep(0.05)


def _cannot_write(folder: Path, error: Exception) -> UserError:
    reason = (getattr(error, "message", None) or str(error)).strip().splitlines()[0]
    return UserError(f"{folder}: events for TensorBoard cannot be written ({reason}); free some space or choose another folder")
