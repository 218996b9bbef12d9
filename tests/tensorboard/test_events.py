"""Event files read back by TensorBoard's own readers."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

from ttfnet_tf.errors import UserError
from ttfnet_tf.tensorboard.events import EventLog


def _read(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def _scalars(folder, name):
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in _read(folder).Tensors(name)]


def test_scalars_keep_step_value_and_note(tmp_path):
    log = EventLog(tmp_path)
    log.scalars(3, {"loss/total": 1.5, "lr": 0.25}, {"lr": "Learning rate."})
    log.scalars(4, {"loss/total": 1.25})
    log.close()
    assert _scalars(tmp_path, "loss/total") == [(3, 1.5), (4, 1.25)]
    metadata = _read(tmp_path).SummaryMetadata("lr")
    assert (metadata.plugin_data.plugin_name, metadata.summary_description) == ("scalars", "Learning rate.")


def test_a_resumed_run_voids_what_a_killed_one_wrote(tmp_path):
    killed = EventLog(tmp_path, first_step=0)
    for step in (10, 20, 30):
        killed.scalars(step, {"loss": float(step)})
    killed.close()
    resumed = EventLog(tmp_path, first_step=21)  # from a checkpoint at step 20
    resumed.scalars(30, {"loss": 31.0})
    resumed.scalars(40, {"loss": 40.0})
    resumed.close()
    assert _scalars(tmp_path, "loss") == [(10, 10.0), (20, 20.0), (30, 31.0), (40, 40.0)]


def test_the_files_of_one_folder_are_begun_in_different_seconds(tmp_path):
    """Else their names may sort the other way round, and the earlier file voids the later one."""
    seconds = []
    for start in (0, 10):
        EventLog(tmp_path, first_step=start).close()
        seconds = [int(path.name.split(".")[3]) for path in tmp_path.iterdir()]
    assert len(set(seconds)) == 2


def test_images_keep_colour_and_size(tmp_path):
    image = np.zeros([16, 24, 3], np.uint8)
    image[:, 12:] = [250, 120, 30]
    log = EventLog(tmp_path)
    log.images(5, {"worst/1": image})
    log.close()
    (event,) = _read(tmp_path).Tensors("worst/1")
    width, height, data = tensor_util.make_ndarray(event.tensor_proto)
    assert (event.step, width, height) == (5, b"24", b"16")
    shown = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(shown[8, 20] - [250, 120, 30]).max() < 12  # JPEG


def test_text_is_preformatted(tmp_path):
    log = EventLog(tmp_path)
    log.text(0, "config", "model:\n  backbone: resnet18")
    log.close()
    (event,) = _read(tmp_path).Tensors("config")
    assert tensor_util.make_ndarray(event.tensor_proto).item() == b"    model:\n      backbone: resnet18"


def test_a_curve_by_hand(tmp_path):
    log = EventLog(tmp_path)
    # At 0: 3 of 4 objects and 1 wrong; at .5: 1 of them, none wrong; at 1: nothing.
    log.curve(7, "AP50/cat", correct=np.array([3, 1, 0]), wrong=np.array([1, 0, 0]), num_objects=4)
    log.close()
    (event,) = _read(tmp_path).Tensors("AP50/cat/pr_curves")
    expected = [[3, 1, 0], [1, 0, 0], [0, 0, 0], [1, 3, 4], [0.75, 1, 1], [0.75, 0.25, 0]]
    np.testing.assert_allclose(tensor_util.make_ndarray(event.tensor_proto), expected)
    assert _read(tmp_path).SummaryMetadata("AP50/cat/pr_curves").plugin_data.plugin_name == "pr_curves"


def test_a_row_of_the_table_of_runs(tmp_path):
    log = EventLog(tmp_path)
    log.hparams("mine", {"optim.lr": 0.5, "augment.affine": True, "model.neck": "plain"}, ["optim.lr"], {"AP": "eval/coco/AP"})
    log.close()
    events = _read(tmp_path)
    experiment = hparams_metadata.parse_experiment_plugin_data(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert [info.name for info in experiment.hparam_infos] == ["optim.lr"]
    assert [(info.name.group, info.name.tag, info.display_name) for info in experiment.metric_infos] == [("eval", "coco/AP", "AP")]
    start = hparams_metadata.parse_session_start_info_plugin_data(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    assert start.group_name == "mine"
    assert start.hparams["optim.lr"].number_value == 0.5
    assert start.hparams["augment.affine"].bool_value is True
    assert start.hparams["model.neck"].string_value == "plain"


def test_a_layout_names_its_charts(tmp_path):
    log = EventLog(tmp_path)
    log.layout({"first": {"loss": ["loss/.*"], "AP": ["coco/AP$"]}})
    log.close()
    (event,) = _read(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(event.tensor_proto).item())
    assert [(chart.title, list(chart.multiline.tag)) for chart in layout.category[0].chart] == [("loss", ["loss/.*"]), ("AP", ["coco/AP$"])]


def test_only_the_chief_writes(tmp_path):
    log = EventLog(tmp_path / "events", first_step=0, writes=False)
    log.scalars(3, {"loss": 1.5})
    log.images(3, {"worst/1": np.zeros([4, 4, 3], np.uint8)})
    log.text(0, "config", "a: 1")
    log.flush()
    log.close()
    assert not (tmp_path / "events").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/events: events for TensorBoard cannot be written \(.+\); free some space or choose"):
        EventLog(tmp_path / "file" / "events")
