"""What a checkpoint holds, and the sums since the last log line."""

import numpy as np
import tensorflow as tf

from ttfnet_tf.training.loss_scale import LossScale
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.state import MetricWindow, TrainState


def _history(**values):
    return {name: np.array(value, np.float32) for name, value in values.items()}


def test_means_are_over_the_steps_since_the_window_was_cleared():
    window = MetricWindow(["loss", "norm"])
    assert window.means() == {}
    window.add(_history(loss=[1.0, 2.0], norm=[10.0, 20.0], other=[7.0, 7.0]))
    window.add(_history(loss=[], norm=[]))
    window.add(_history(loss=[6.0], norm=[0.0]))
    assert window.means() == {"loss": 3.0, "norm": 10.0}
    window.clear()
    window.add(_history(loss=[5.0], norm=[4.0]))
    assert window.means() == {"loss": 5.0, "norm": 4.0}


def test_a_window_continues_from_its_variable():
    window = MetricWindow(["loss"])
    window.add(_history(loss=[1.0]))
    window.to_variable()
    window.add(_history(loss=[100.0]))
    window.from_variable()
    window.add(_history(loss=[2.0]))
    assert window.means() == {"loss": 1.5}
    assert window.variable.numpy().tolist() == [1.0, 1.0]


def test_names_in_a_checkpoint_are_those_that_runs_have_on_disk():
    everything = TrainState(None, {}, tf.Module(), tf.Module(), LossScale(), Sentinel(), MetricWindow(["loss"]))
    assert set(everything.objects()) == {"optimizer", "average", "loss_scale", "sentinel", "window"}
    assert set(TrainState(tf.Module(), {}, tf.Module()).objects()) == {"model", "optimizer"}
    keys = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name in _keys(tf.train.Checkpoint(**everything.objects()))}
    assert keys == {
        "window",
        "loss_scale/value",
        "loss_scale/good_steps",
        "sentinel/mean",
        "sentinel/seen",
        "sentinel/bad_step",
        "sentinel/current_step",
        "sentinel/left_out",
        "sentinel/in_a_row",
        "sentinel/data_offset",
    }


def _keys(checkpoint):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint.write(f"{folder}/x")
        return [name for name, _ in tf.train.list_variables(path) if not name.startswith("_")]
