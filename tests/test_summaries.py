import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ttfnet_tf.draw import class_colour
from ttfnet_tf.summaries import Summaries, detection_panel, overlay_heatmap


def test_overlay_by_hand():
    """A cell at probability 1 takes the colour of its class, at 0 the darkened grey of the picture."""
    image = np.full([8, 8, 3], 100, np.uint8)
    heatmap = np.zeros([2, 2, 2], np.float32)
    heatmap[0, 1, 1] = 1.0
    overlay = overlay_heatmap(image, heatmap)
    np.testing.assert_array_equal(overlay[:4, 4:], np.broadcast_to(class_colour(1), [4, 4, 3]))
    np.testing.assert_array_equal(overlay[4:], np.full([4, 8, 3], 60))


def test_panel_is_two_by_two_and_shows_confident_boxes_only():
    image = np.zeros([64, 64, 3], np.uint8)
    heatmap = np.zeros([16, 16, 2], np.float32)
    box = np.array([[10.0, 10.0, 50.0, 50.0]], np.float32)
    arguments = {
        "true_boxes": box,
        "true_labels": np.array([0]),
        "target_heatmap": heatmap,
        "boxes": box,
        "labels": np.array([1]),
        "heatmap": heatmap,
        "class_names": ["cat", "dog"],
    }
    sure = detection_panel(image, scores=np.array([0.9]), **arguments)
    unsure = detection_panel(image, scores=np.array([0.3]), **arguments)
    assert sure.shape == (128, 128, 3)
    assert sure[:64, :64].any()
    assert unsure[:64, :64].any()
    assert sure[64:, :64].any()
    assert not unsure[64:, :64].any()


@pytest.mark.parametrize("writes", [True, False])
def test_only_the_chief_writes_events(tmp_path, writes):
    summaries = Summaries(tmp_path, writes=writes)
    summaries.scalars("train", 3, {"loss": 1.5})
    summaries.pictures(3, {"picture_7": np.zeros([4, 4, 3], np.uint8)})
    summaries.text("config", "a: 1")
    summaries.flush()
    assert bool(list(tmp_path.rglob("events.out.*"))) == writes


def test_scalars_read_back(tmp_path):
    summaries = Summaries(tmp_path)
    summaries.scalars("train", 3, {"loss": 1.5})
    summaries.scalars("eval", 4, {"AP": 0.25})
    summaries.flush()
    for kind, name, step, value in (("train", "loss", 3, 1.5), ("eval", "AP", 4, 0.25)):
        events = EventAccumulator(str(tmp_path / kind)).Reload()
        (event,) = events.Tensors(name)
        assert event.step == step
        np.testing.assert_allclose(event.tensor_proto.float_val or np.frombuffer(event.tensor_proto.tensor_content, np.float32), [value])
