"""Decisions by hand-calculated cases."""

import pytest

from ttfnet_tf.fit.decide import DataFacts, MachineFacts, candidate_sizes, decide, too_little

CEILINGS = {(96, 96): 0.60, (128, 128): 0.80, (192, 192): 0.95, (256, 256): 0.98, (320, 320): 0.99}


def _data(**changes):
    facts = {
        "train_images": 300,
        "val_images": 60,
        "empty_images": 0,
        "boxes_of_class": (500, 400),
        "image_size": (480, 480),
        "ceilings": CEILINGS,
    }
    return DataFacts(**{**facts, **changes})


def _machine(step_seconds_at_128=0.3, **changes):
    """A machine that takes so long for a step of 8 images of 128 px; an image costs as much as 4,500 px more."""
    facts = {"pixel_seconds": step_seconds_at_128 / (8 * (128 * 128 + 4_500)), "on_gpu": False, "free_memory": 8 << 30}
    return MachineFacts(**{**facts, **changes})


def _values(data=None, machine=None, **settings):
    values = {}
    for decision in decide(data or _data(), machine or _machine(), **{"minutes": 20, **settings}):
        values.update(decision.values)
    return values


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        # 1160 s are 755 steps at 320 px, where one takes 0.3 x 106,900 / 20,884 s; 140 sqrt(20) = 626 are wanted.
        (20, [320, 320]),
        # 560 s: 364 steps at 320, 556 at 256; 443 are wanted.
        (10, [256, 256]),
        # 140 s: 139 steps at 256, 235 at 192, 466 at 128; 242 are wanted. Boxes need 192, where .95 is 96 % of .99, and 120 are left there.
        (3, [192, 192]),
        # 68 s: 114 steps at 192, 226 at 128.
        (1.8, [128, 128]),
        # 15 s, half of the time: 76 steps at 96.
        (0.5, [96, 96]),
    ],
)
def test_the_time_and_the_boxes_decide_the_size(minutes, expected):
    assert _values(minutes=minutes)["data.image_size"] == expected


def test_where_no_size_has_the_wanted_steps_the_largest_with_120_is_taken():
    """140 s: 236 steps at 96 px, 155 at 128, 78 at 192; 242 are wanted."""
    data = _data(ceilings=dict.fromkeys(CEILINGS, 0.9))
    assert _values(data, _machine(0.9), minutes=3)["data.image_size"] == [128, 128]


def test_sizes_have_the_shape_of_the_images():
    """Images of 300 x 600: sides of 128 / sqrt(2) = 90.5 -> 96 and 128 sqrt(2) = 181 -> 192."""
    assert (96, 192) in candidate_sizes((300, 600))
    assert all(height % 32 == width % 32 == 0 for height, width in candidate_sizes((333, 517)))
    areas = [height * width for height, width in candidate_sizes((480, 640))]
    assert areas == sorted(areas)


def test_no_size_is_much_larger_than_the_images():
    assert candidate_sizes((200, 200))[-1] == (224, 224)
    assert candidate_sizes((40, 40))[-1] == (128, 128)
    assert candidate_sizes((4000, 4000))[-1] == (512, 512)


@pytest.mark.parametrize(
    ("images", "on_gpu", "devices", "expected"),
    [(300, False, 1, 8), (5, False, 1, 5), (300, True, 1, 32), (300, True, 3, 30), (5, True, 3, 3), (2, True, 3, 3)],
)
def test_the_batch_is_shared_by_the_devices(images, on_gpu, devices, expected):
    machine = _machine(on_gpu=on_gpu, devices=devices)
    assert _values(_data(train_images=images), machine)["train.batch_size"] == expected


def test_weights_decide_how_fast_it_learns():
    scratch, tuned, detector = _values(), _values(pretrained="resnet18.npz"), _values(pretrained="runs/first", is_detector=True)
    keys = ("model.frozen_stages", "optim.name", "optim.lr", "optim.warmup_steps", "optim.clip_norm")
    assert [scratch[key] for key in keys] == [-1, "sgd", 0.006, 150, 10.0]
    assert [tuned[key] for key in keys] == [-1, "sgd", 0.008, 100, 10.0]
    assert [detector[key] for key in keys] == [-1, "adamw", 0.0007, 20, 35.0]
    assert scratch["model.zero_init_residual"] is False


@pytest.mark.parametrize(("batch", "expected"), [(4, 0.003), (8, 0.006), (32, 0.012)])
def test_the_learning_rate_follows_small_batches_and_the_root_of_large_ones(batch, expected):
    values = _values(batch_size=batch)
    assert (values["optim.lr"], values["optim.lr_batch_size"]) == (expected, batch)


def test_the_cache_takes_a_quarter_of_the_memory():
    """360 images of 320 x 320 x 3 bytes are 110.6 MB; photometric changes are before the resize."""
    assert _values(machine=_machine(free_memory=443_000_000))["data.cache"] == "ram"
    assert _values(machine=_machine(free_memory=442_000_000))["data.cache"] == "none"


def test_many_epochs_change_colours_in_place_of_the_cache():
    """120 images: 1160 s are 755 steps at 320 px, 50 epochs; a machine six times as fast makes 302."""
    slow, fast = _data(train_images=120), _machine(0.05)
    assert (_values(slow)["augment.photometric"], _values(slow)["data.cache"]) == (False, "ram")
    assert (_values(slow, fast)["augment.photometric"], _values(slow, fast)["data.cache"]) == (True, "none")


@pytest.mark.parametrize(("step_seconds", "expected"), [(0.3, 0.9338), (1.0, 0.9), (0.00001, 0.9995)])
def test_the_average_is_as_long_as_a_fiftieth_of_the_steps(step_seconds, expected):
    """755 steps at 320 px: 1 - 1 / 15.1; at least 10 steps, at most 2000."""
    assert _values(machine=_machine(step_seconds), image_size=(320, 320))["optim.ema_decay"] == expected


def test_images_without_boxes_become_background():
    assert _values(_data(empty_images=7))["data.empty_images"] == "keep"
    assert _values()["data.empty_images"] == "drop"


def test_what_the_user_names_is_not_decided():
    decisions = decide(_data(), _machine(), minutes=20, image_size=(64, 64), batch_size=4)
    assert not any("data.image_size" in decision.values for decision in decisions)
    assert {"train.batch_size": 4} in [decision.values for decision in decisions]


def test_every_line_has_a_reason_and_no_setting_is_decided_twice():
    decisions = decide(_data(), _machine(), minutes=3)
    keys = [key for decision in decisions for key in decision.values]
    assert len(keys) == len(set(keys))
    assert all("\n" not in decision.line and ":" in decision.line for decision in decisions)


def test_too_little_data_is_said_with_counts():
    assert too_little([500, 99, 300]) is None
    line = too_little([3, 40, 8, 500])
    assert line.startswith("too little data for 4 classes: 3 of them have fewer than 100 boxes, half have at most 40;")
    assert too_little([40]).startswith("too little data for 1 class: 1 of them")
