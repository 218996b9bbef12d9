"""A run learns from another one: what is refused, and what a step computes."""

import networks
import numpy as np
import pytest
import small_run
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.teacher import teacher_targets
from ttfnet_tf.runs.checkpoint import load_run
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.teacher import check_teacher, load_teacher

NAMES = ("cat", "dog", "bird")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A work directory, whose network is narrow as all networks of this module are; its own size is 64 x 96."""
    with pytest.MonkeyPatch.context() as patch:
        networks.narrow(patch)
        yield small_run.write_run(tmp_path_factory.mktemp("teacher") / "run")


def _config(folder, teacher, *overrides):
    file = folder / "student.yaml"
    file.write_text(small_run.SETTINGS)
    precise = ("train.precision=float32", "train.batch_size=2", "data.image_size=[64, 64]", "model.frozen_stages=-1", "optim.clip_norm=0")
    return load_config(file, [*precise, f"train.teacher={teacher}", *overrides])


@pytest.mark.slow
def test_a_run_of_the_same_classes_is_a_teacher(teacher, tmp_path):
    assert check_teacher(_config(tmp_path, teacher), NAMES) == f"teacher: {teacher}, resnet18, step 7"
    assert check_teacher(load_config(tmp_path / "student.yaml"), NAMES) is None


@pytest.mark.parametrize(
    ("overrides", "names", "line"),
    [
        ((), ("cat", "fox", "bird"), "has other classes (3 and 3; class 2 is dog there and fox here); both must list the same in the same"),
        ((), ("cat", "dog"), "has other classes (3 and 2; class 3 is bird there and missing here); both must list the same in the same"),
        (
            ("model.box_per_class=true",),
            NAMES,
            "was trained with model.box_per_class=false, this run has true; their heads differ",
        ),
    ],
)
def test_a_run_with_other_maps_is_not(teacher, tmp_path, overrides, names, line):
    with pytest.raises(UserError) as caught:
        check_teacher(_config(tmp_path, teacher, *overrides), names)
    assert str(caught.value).startswith(f"train.teacher={teacher}: {line}")


def test_a_folder_without_a_run_is_not(tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path}/none"):
        check_teacher(_config(tmp_path, tmp_path / "none"), NAMES)


def test_centernet_has_no_teacher(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model: {method: centernet, upsampling: transposed}")
    with pytest.raises(UserError, match=r"train\.teacher=x has no effect with model\.method=centernet"):
        load_config(file, ["train.teacher=x"])


def _batch():
    rng = np.random.default_rng(3)
    boxes = np.zeros([2, 2, 4], np.float32)
    boxes[:, 0] = [[4, 8, 40, 30], [20, 10, 50, 60]]
    labels = np.array([[1, -1], [2, -1]], np.int32)
    return {"image": rng.integers(0, 255, (2, *SIZE, 3), np.uint8), "boxes": boxes, "labels": labels, "image_id": np.array([7, 9])}


@pytest.mark.slow
def test_its_weights_are_those_of_an_evaluation_in_the_size_of_the_student(teacher, tmp_path):
    config, images = _config(tmp_path, teacher), _batch()["image"]
    found = load_teacher(config, build.method_of(config, 3))(tf.constant(images))
    expected = teacher_targets(load_run(teacher, image_size=SIZE).model(images, training=False))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    assert found["teacher_box_weight"].numpy().max() > 0.1  # it detects something
    half = load_teacher(_config(tmp_path, teacher, "train.precision=mixed_bfloat16"), build.method_of(config, 3))(tf.constant(images))
    assert half["teacher_heatmap"].dtype == tf.float32
    assert 0 < np.abs(half["teacher_heatmap"] - found["teacher_heatmap"]).max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        "losses.normalizer=global",
        "losses.normalizer=replica",
        "optim.accumulate=2",
    ],
)
def test_a_step_adds_its_losses_and_inspection_finds_the_same(teacher, tmp_path, override):
    config = _config(tmp_path, teacher, override)
    strategy, method, batch = tf.distribute.get_strategy(), build.method_of(config, 3), _batch()
    state = training_build.state_of(config, strategy, 3)
    train = training_build.train_function_of(config, strategy, state, method)
    inspected = training_build.inspection_of(config, method, 1)(state.model, batch, 1.0)
    tensors = {name: tf.constant(values) for name, values in batch.items()}
    history = train.__wrapped__(iter([tensors]), [0.0], 0)
    found = {name: float(history[name][0]) for name in ("loss", *method.loss_names, "gradient_norm")}
    assert found["teacher_heatmap_loss"] > 0
    assert found["teacher_box_loss"] > 0
    np.testing.assert_allclose(found["loss"], sum(found[name] for name in method.loss_names), rtol=1e-5)
    for name in ("loss", *method.loss_names):
        np.testing.assert_allclose(inspected["losses"][name], found[name], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(inspected["gradient_norm"], found["gradient_norm"], rtol=1e-3)


@pytest.mark.slow
def test_the_teacher_stays_as_it_is(teacher, tmp_path):
    """Neither is it a part of the state that checkpoints hold."""
    config = _config(tmp_path, teacher)
    strategy, method = tf.distribute.get_strategy(), build.method_of(config, 3)
    state = training_build.state_of(config, strategy, 3)
    plain = training_build.state_of(
        load_config(tmp_path / "student.yaml", ["data.image_size=[64, 64]", "train.precision=float32"]), strategy, 3
    )
    assert state.objects().keys() == plain.objects().keys()
    assert state.window.names == ("loss", *method.loss_names, *plain.window.names[3:])
