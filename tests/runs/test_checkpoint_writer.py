"""Checkpoints of the compiled writer are those of TensorFlow's own."""

import networks
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs.checkpoint_writer import OBJECT_GRAPH, CheckpointWriter
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.sgd import ReferenceSGD
from ttfnet_tf.training.state import MetricWindow


@pytest.fixture(scope="module")
def state():
    """The objects of a run, made under a strategy, so that the running statistics are variables of replicas."""
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = networks.build(
            2, backbone="tiny", width=8, neck_channels=(8, 8, 8), heatmap_head=(8, 1), box_head=(8, 1), batch_norm="synchronized"
        )
        named = named_parameters(model, trainable_only=True)
        return {
            "model": model,
            "optimizer": ReferenceSGD(named),
            "window": MetricWindow(("loss",)).variable,
            "sentinel": Sentinel(),
            "average": MovingAverage(named, 0.9),
        }


def _content(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}


def test_the_second_checkpoint_is_what_tensorflow_would_write(state, tmp_path, monkeypatch):
    writer = CheckpointWriter(tf.train.Checkpoint(**state))
    writer.write(str(tmp_path / "first"))
    for number, variable in enumerate(state["model"].variables):
        variable.assign(tf.fill(variable.shape, number + 0.5))
    state["sentinel"].seen.assign(7)
    tf.train.Checkpoint(**state).write(str(tmp_path / "expected"))
    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "write", None)  # is not called again
        writer.write(str(tmp_path / "second"))
    first, expected, second = (_content(tmp_path / name) for name in ("first", "expected", "second"))
    assert second[OBJECT_GRAPH] == expected[OBJECT_GRAPH]
    assert list(second) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(second[key], value, err_msg=key)
        assert (second[key].dtype if key != OBJECT_GRAPH else None) == (value.dtype if key != OBJECT_GRAPH else None)
    assert any(np.any(first[key] != value) for key, value in expected.items())
    assert sorted(path.name for path in tmp_path.glob("second*")) == ["second.data-00000-of-00001", "second.index"]
    state["sentinel"].seen.assign(0)
    tf.train.Checkpoint(**state).read(str(tmp_path / "second")).assert_consumed()
    assert int(state["sentinel"].seen.numpy()) == 7


def test_variables_that_are_made_later_are_written_too(tmp_path):
    variable = tf.Variable([1.0, 2.0])
    optimizer = keras.optimizers.legacy.Adam()  # makes its slots at the first update
    writer = CheckpointWriter(tf.train.Checkpoint(optimizer=optimizer))
    writer.write(str(tmp_path / "before"))
    optimizer.apply_gradients([(tf.constant([0.1, 0.2]), variable)])
    for name in ("after", "again"):
        writer.write(str(tmp_path / name))
        tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "expected"))
        content, expected = _content(tmp_path / name), _content(tmp_path / "expected")
        assert set(content) == set(expected) > set(_content(tmp_path / "before"))
        optimizer.apply_gradients([(tf.constant([0.3, 0.2]), variable)])


def test_a_folder_that_is_not_there_raises_what_tensorflow_raises(state, tmp_path):
    writer = CheckpointWriter(tf.train.Checkpoint(**state))
    writer.write(str(tmp_path / "first"))
    (tmp_path / "file").write_text("")
    with pytest.raises(tf.errors.OpError) as raised:
        writer.write(str(tmp_path / "file" / "second"))
    assert not str(raised.value.message).startswith("Graph execution error")
    writer.write(str(tmp_path / "third"))
    assert set(_content(tmp_path / "third")) == set(_content(tmp_path / "first"))


def test_the_first_file_is_written_as_the_later_ones_are(state, tmp_path):
    # A run that resumes begins with the first file of its process; it must end with the bytes of one that never stopped.
    writers = [CheckpointWriter(tf.train.Checkpoint(**state)) for _ in range(2)]
    writers[0].write(str(tmp_path / "earlier"))
    for number, writer in enumerate(writers):
        writer.write(str(tmp_path / f"of-{number}"))
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"of-0{suffix}").read_bytes() == (tmp_path / f"of-1{suffix}").read_bytes()
