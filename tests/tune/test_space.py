"""The settings that are tuned and their ranges."""

import pytest

from ttfnet_tf.config import load_config
from ttfnet_tf.fit.decide import MachineFacts
from ttfnet_tf.tune.space import Options, Range, affordable_sizes, as_json, centre_of, from_json, overrides_of, space_of


def _config(*overrides):
    return load_config("/dev/null", ["optim.schedule=trapezoid", "train.minutes=5", "data.image_size=[160,160]", *overrides])


def _space(config, *, named=(), sizes=((128, 128), (160, 160), (192, 192)), images=100, refused=()):
    return {
        one.key: one for one in space_of(config, named=named, sizes=sizes, train_images=images, is_allowed=lambda text: text not in refused)
    }


def test_ranges_are_around_the_centre():
    space = _space(_config("optim.lr=0.008", "train.batch_size=8"))
    assert space["optim.lr"] == Range("optim.lr", 0.002, 0.032)
    assert space["losses.box_weight"] == Range("losses.box_weight", 2.0, 12.5)
    assert space["optim.weight_decay"] == Range("optim.weight_decay", pytest.approx(8e-5), pytest.approx(2e-3))
    assert space["train.batch_size"] == Options("train.batch_size", ("8", "4", "16"))
    assert space["data.image_size"] == Options("data.image_size", ("[160,160]", "[128,128]", "[192,192]"))
    assert space["augment.mosaic"] == Options("augment.mosaic", ("0", "0.5"))
    assert "model.frozen_stages" not in space


def test_stages_are_frozen_with_pretrained_weights_only():
    assert _space(_config("model.pretrained=a.npz"))["model.frozen_stages"].texts == ("1", "-1", "2")


def test_what_the_user_names_and_what_is_refused_is_not_tried():
    space = _space(_config("train.batch_size=8"), named={"optim.lr"}, refused={"augment.mosaic=0.5", "train.batch_size=4"})
    assert "optim.lr" not in space
    assert "augment.mosaic" not in space  # one value is left
    assert space["train.batch_size"].texts == ("8", "16")


def test_a_batch_is_no_larger_than_the_data():
    assert _space(_config("train.batch_size=8"), images=15)["train.batch_size"].texts == ("8", "4")
    assert "train.batch_size" not in _space(_config("train.batch_size=1"), images=1)


def test_a_weight_decay_of_0_has_no_range():
    assert "optim.weight_decay" not in _space(_config("optim.weight_decay=0"))


@pytest.mark.parametrize(
    ("size", "pixel_seconds", "expected"),
    [
        ((160, 160), 1e-6, [(128, 128), (160, 160), (192, 192)]),
        # 260 s; a step of 8 images of 192 px takes 8 x (192 x 192 + 4500) px = 0.33e6 px; 120 of them fit at 6.5e-6 s a pixel.
        ((160, 160), 6.4e-6, [(128, 128), (160, 160), (192, 192)]),
        ((160, 160), 6.7e-6, [(128, 128), (160, 160)]),
        ((96, 96), 1e-6, [(96, 96), (128, 128)]),
        ((256, 256), 1e-6, [(224, 224), (256, 256)]),  # images have 256 px
    ],
)
def test_sizes_are_neighbours_that_the_machine_affords(size, pixel_seconds, expected):
    machine = MachineFacts(pixel_seconds, False, 1 << 30)
    assert affordable_sizes(size, (256, 256), minutes=5.0, batch_size=8, machine=machine) == expected


def test_the_centre_is_in_the_space_and_texts_are_overrides():
    config = _config("optim.lr=0.008", "train.batch_size=8")
    space = list(_space(config).values())
    centre = centre_of(config, space)
    for one in space:
        assert one.low <= centre[one.key] <= one.high if isinstance(one, Range) else centre[one.key] in one.texts
    assert _config(*overrides_of(centre)) == config
    assert from_json(as_json(space)) == space
