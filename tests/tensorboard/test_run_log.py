"""What a run writes for TensorBoard; a resumed run writes nothing twice."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util import tensor_util

from ttfnet_tf.config import Config
from ttfnet_tf.evaluation.coco_metrics import METRIC_NAMES
from ttfnet_tf.evaluation.evaluate import EvaluationResult
from ttfnet_tf.evaluation.matches import ClassMatches, Matches
from ttfnet_tf.runs.run_folder import flatten
from ttfnet_tf.tensorboard import run_log
from ttfnet_tf.tensorboard.run_log import RunLog, memory_now

SETTINGS = {"optim.lr": 0.5, "model.backbone": "resnet18", "model.method": "ttfnet", "model.pretrained": None, "data.image_size": [64, 64]}
LINE = {"step": 10, "epoch": 1.0, "loss": 3.0, "heatmap_loss": 1.0, "box_loss": 2.0, "gradient_norm": 9.0, "lr": 0.5}
LINE |= {"positives": 4.0, "regression_samples": 90.0, "ambiguous": 0.125, "images_per_second": 6.0, "data_wait": 0.25}
MATCHES = Matches(
    {"cat": ClassMatches(2, np.array([0.9, 0.4]), np.array([True, False])), "dog": ClassMatches(0, np.zeros(0), np.zeros(0, bool))}, {}
)


def _result(ap):
    metrics = {**dict.fromkeys(METRIC_NAMES, ap), "APl": -1.0}
    return EvaluationResult([], metrics, {"cat": ap, "dog": -1.0}, 1, MATCHES)


def _read(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def _scalars(folder, name):
    return [(event.step, pytest.approx(float(tensor_util.make_ndarray(event.tensor_proto)))) for event in _read(folder).Tensors(name)]


def _tags(folder):
    return set(_read(folder).Tags()["tensors"])


@pytest.fixture
def stopped(tmp_path):
    """The log of a run that got to step 20 after 7 seconds; its last checkpoint is at step 10."""
    log = RunLog(tmp_path)
    log.begin(0, 0.0, settings=SETTINGS, texts={"config": "a: 1", "command": "ttfnet train"})
    log.line(10, {**LINE, "training_seconds": 3.5}, {"rss_mb": 500.0})
    log.evaluation(10, 3.5, _result(0.25), {"worst/1": np.zeros([4, 4, 3], np.uint8)})
    log.line(20, {**LINE, "training_seconds": 7.25}, {"rss_mb": 600.0})
    log.evaluation(20, 7.25, _result(0.5), {})
    log.close()
    return tmp_path


def test_names_and_units(stopped):
    assert _tags(stopped / "train") >= {
        *("loss/total", "loss/heatmap", "loss/box", "lr", "grad_norm", "samples/positives", "samples/regression"),
        *("samples/ambiguous_pct", "speed/images_per_s", "speed/data_wait_pct", "memory/rss_mb", "config", "command"),
    }
    assert _scalars(stopped / "train", "samples/ambiguous_pct") == [(10, 12.5), (20, 12.5)]
    assert _scalars(stopped / "train", "speed/data_wait_pct") == [(10, 25.0), (20, 25.0)]
    assert _scalars(stopped / "eval", "coco/AP") == [(10, 0.25), (20, 0.5)]
    assert _scalars(stopped / "eval", "coco_class/cat") == [(10, 0.25), (20, 0.5)]
    # What has no objects has no figure: neither a -1 nor a curve.
    assert not {"coco/APl", "coco_class/dog", "AP50/dog/pr_curves"} & _tags(stopped / "eval")
    assert _scalars(stopped / "time", "time/AP") == [(3, 0.25), (7, 0.5)]
    assert _scalars(stopped / "time", "time/loss") == [(3, 3.0), (7, 3.0)]


def test_every_name_has_a_description(stopped):
    events = _read(stopped / "train")
    for name in ("loss/total", "lr", "grad_norm", "samples/positives", "speed/images_per_s", "memory/rss_mb"):
        assert events.SummaryMetadata(name).summary_description
    assert "SECONDS" in _read(stopped / "time").SummaryMetadata("time/AP").summary_description


def test_curves_count_at_101_thresholds(stopped):
    event = _read(stopped / "eval").Tensors("AP50/cat/pr_curves")[0]
    correct, wrong, _, missed, precision, recall = tensor_util.make_ndarray(event.tensor_proto)
    assert (correct[:91].tolist(), correct[91:].any()) == ([1.0] * 91, False)
    assert (wrong[:41].tolist(), wrong[41:].any()) == ([1.0] * 41, False)
    assert (missed[0], precision[0], recall[0], precision[50], precision[100]) == (1, 0.5, 0.5, 1, 1)


def test_a_resumed_run_writes_nothing_twice(stopped):
    log = RunLog(stopped)
    log.begin(10, 3.5, settings=SETTINGS, texts={"config": "a: 1", "command": "ttfnet train"})
    log.line(20, {**LINE, "loss": 2.5, "training_seconds": 8.5}, {"rss_mb": 550.0})
    log.evaluation(20, 8.5, _result(0.75), {})
    log.close()
    assert _scalars(stopped / "train", "loss/total") == [(10, 3.0), (20, 2.5)]
    assert _scalars(stopped / "eval", "coco/AP") == [(10, 0.25), (20, 0.75)]
    assert _scalars(stopped / "time", "time/AP") == [(3, 0.25), (8, 0.75)]
    assert len(_read(stopped / "eval").Tensors("AP50/cat/pr_curves")) == 2
    assert [event.step for event in _read(stopped / "train").Tensors("command")] == [0, 10]
    assert len(_read(stopped).Tensors("_hparams_/session_start_info")) == 1


def test_lines_within_a_second_are_one_point_on_the_time_axis(tmp_path):
    log = RunLog(tmp_path)
    log.begin(0, 0.0, settings=SETTINGS, texts={})
    for step, seconds in ((1, 0.5), (2, 1.25), (3, 1.75), (4, 2.0)):
        log.line(step, {**LINE, "training_seconds": seconds}, {})
    log.close()
    assert [step for step, _ in _scalars(tmp_path / "time", "time/loss")] == [1, 2]


def test_evaluations_within_a_second_are_a_second_apart(tmp_path):
    log = RunLog(tmp_path)
    log.begin(0, 0.0, settings=SETTINGS, texts={})
    for step, seconds in ((3, 5.1), (6, 5.9), (9, 12.0)):
        log.evaluation(step, seconds, _result(step / 10), {})
    log.close()
    assert _scalars(tmp_path / "time", "time/AP") == [(5, 0.3), (6, 0.6), (12, 0.9)]


def test_the_layout_names_what_is_written(stopped):
    (event,) = _read(stopped / "train").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(event.tensor_proto).item())
    written = _tags(stopped / "train") | _tags(stopped / "eval") | _tags(stopped / "time")
    for category in layout.category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.match(pattern, tag) for tag in written), pattern


def test_columns_of_the_table_are_settings():
    assert set(run_log._COLUMNS) <= set(flatten(dataclasses.asdict(Config())))


def test_other_workers_write_nothing(tmp_path):
    log = RunLog(tmp_path / "run", writes=False)
    log.begin(0, 0.0, settings=SETTINGS, texts={})
    log.line(10, {**LINE, "training_seconds": 3.5}, {})
    log.evaluation(10, 3.5, _result(0.25), {})
    log.sync()
    log.close()
    assert not (tmp_path / "run").exists()


def test_memory_is_that_of_this_process():
    memory = memory_now()
    assert 50 < memory["rss_mb"] < 50_000
    assert ("gpu_peak_mb" in memory) == bool(tf.config.list_logical_devices("GPU"))
