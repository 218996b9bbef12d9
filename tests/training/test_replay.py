"""Results of a step compared, and the images that are to blame for it."""

from ttfnet_tf.training.replay import same_figures
from ttfnet_tf.training.step_inspection import suspects

NAN, INF = float("nan"), float("inf")


def _inspection(loss=2.0, norm=3.0, images=(1.0, 1.0)):
    return {
        "losses": {"loss": loss},
        "gradient_norm": norm,
        "images": [{"image_id": 7 + index, "loss": value} for index, value in enumerate(images)],
        "layers": [],
    }


def test_images_with_a_loss_of_their_own_that_is_not_finite_are_suspects_unless_all_are():
    assert suspects(_inspection(images=(1.0, NAN, 2.0, INF))) == [8, 10]
    assert suspects(_inspection(images=(NAN, NAN))) == []
    assert suspects({"error": "x", "images": [], "layers": []}) == []


def test_same_figures():
    assert same_figures(_inspection(NAN, INF), _inspection(NAN, INF))
    assert same_figures(_inspection(2.0), _inspection(2.0001))
    assert not same_figures(_inspection(2.0), _inspection(2.001))
    assert not same_figures(_inspection(NAN), _inspection(2.0))
    assert not same_figures(_inspection(), {"error": "x"})
    assert same_figures({"error": "x"}, {"error": "x"})
