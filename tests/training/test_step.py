"""The training step on a network of eight channels and images of 64 pixels."""

import dataclasses

import networks
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods.centernet import centernet
from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.ttfnet import decode_distances, ttfnet
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.models.precision import precision_policy
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.loss_scale import LossScale
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.sgd import ReferenceSGD
from ttfnet_tf.training.state import TrainState
from ttfnet_tf.training.step import build_train_function, clip_scale
from ttfnet_tf.training.step_inspection import inspect_step

SIZE = (64, 64)
SETTINGS = {"image_size": SIZE, "num_classes": 2}
METHOD = {"ttfnet": ttfnet, "centernet": centernet}
METRICS = ("loss", "heatmap_loss", "box_loss", "gradient_norm")
SMALL = {
    "backbone": "tiny",
    "width": 8,
    "neck_channels": (16, 16, 16),
    "heatmap_head": (16, 1),
    "box_head": (16, 1),
    "frozen_stages": -1,
}


def _batch(count=4):
    """Bright rectangles on noise: class 0 wide and red, class 1 tall and blue."""
    random = np.random.default_rng(5)
    image = random.integers(0, 60, (count, *SIZE, 3), np.uint8)
    boxes = np.zeros([count, 2, 4], np.float32)
    for row in range(count):
        for label, (width, height) in enumerate([(30, 16), (14, 28)]):
            x, y = random.integers(0, 63 - width), random.integers(0, 63 - height)
            boxes[row, label] = x, y, x + width, y + height
            image[row, y : y + height + 1, x : x + width + 1, 2 * label] = 250
    return {"image": image, "boxes": boxes, "labels": np.tile([[0, 1]], [count, 1]).astype(np.int32)}


def _painted(batch):
    """The batch with its targets."""
    targets = [paint_targets(boxes, labels, **SETTINGS) for boxes, labels in zip(batch["boxes"], batch["labels"])]
    return {**batch, **{key: np.stack([one[key] for one in targets]) for key in targets[0]}}


class Trainer:
    """A small network and its training function, which is traced once for all tests that share it."""

    def __init__(
        self,
        neck="plain",
        *,
        loss_scale=None,
        sentinel=None,
        clip_norm=35.0,
        precision="float32",
        jit_compile=False,
        name="ttfnet",
        method=None,
        normalizer="global",
        accumulate=1,
        **weights,
    ):
        sampler = "gather" if jit_compile else "crop_and_resize"
        with precision_policy(precision):
            self.model = networks.build(2, neck=neck, sampler=sampler, method=name, **SMALL)
        named = named_parameters(self.model, trainable_only=True)
        self.parameters = list(named.values())
        self.optimizer, self.average = ReferenceSGD(named), MovingAverage(named, 0.5)
        self.loss_scale, self.sentinel = loss_scale, sentinel
        self.train = build_train_function(
            tf.distribute.get_strategy(),  # the current one
            TrainState(self.model, named, self.optimizer, self.average, loss_scale, sentinel),
            method or METHOD[name](**SETTINGS, **weights),
            clip_norm=clip_norm,
            normalizer=normalizer,
            accumulate=accumulate,
            jit_compile=jit_compile,
            restore_statistics=sentinel is not None,
        )
        self._initial = [variable.numpy() for variable in self.model.variables]

    def reset(self):
        for variable, value in zip(self.model.variables, self._initial):
            variable.assign(value)
        for buffer in self.optimizer.buffers.values():
            buffer.assign(tf.zeros_like(buffer))
        self.average.reset()

    def run(self, batch, rates, first_step=0, fresh=True):
        """`batch` for every step, or one for each."""
        if fresh:
            self.reset()
        if isinstance(batch, list):
            data = iter(tf.data.Dataset.from_tensor_slices({key: np.stack([one[key] for one in batch]) for key in batch[0]}))
        else:
            data = iter(tf.data.Dataset.from_tensors(batch).repeat())
        return dict(self.train(data, rates, first_step))

    def values(self):
        return [variable.numpy() for variable in (*self.parameters, *self.average.averages.values())]


@pytest.fixture(scope="module")
def trainer():
    return Trainer()


@pytest.fixture(scope="module")
def deformable():
    return Trainer(neck="deformable")


@pytest.fixture(scope="module")
def scaled():
    return Trainer(loss_scale=LossScale(initial=1024.0))


@pytest.mark.slow
def test_four_images_are_learned(deformable):
    batch = _batch()
    history = deformable.run(batch, [*np.linspace(0, 0.005, 20), *[0.005] * 140, *[0.0005] * 40])
    assert history["loss"][-1] < 0.05 * history["loss"][0]
    detections = decode_distances(deformable.model(batch["image"], training=True), image_size=SIZE, top_k=2)
    order = np.argsort(detections["classes"], axis=1)
    np.testing.assert_array_equal(np.take_along_axis(detections["classes"].numpy(), order, 1), batch["labels"])
    boxes = np.take_along_axis(detections["boxes"].numpy(), order[..., None], 1)
    assert np.abs(boxes - batch["boxes"]).max() < 8  # pixels


@pytest.mark.slow
def test_steps_in_one_call_equal_steps_in_many(trainer):
    batch, rates = _batch(), [0.01, 0.02, 0.005]
    once = trainer.run(batch, rates)
    together = trainer.values()
    many = [trainer.run(batch, [rate], step, fresh=step == 0) for step, rate in enumerate(rates)]
    for name in METRICS:
        np.testing.assert_array_equal(once[name], np.concatenate([one[name] for one in many]))
    for ours, theirs in zip(together, trainer.values()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_batches_with_targets_equal_batches_with_boxes(trainer):
    batch = _batch()
    on_device, from_pipeline = trainer.run(batch, [0.01]), trainer.run(_painted(batch), [0.01])
    for name in METRICS:
        np.testing.assert_allclose(on_device[name], from_pipeline[name], rtol=1e-5)


def test_images_without_objects_train(trainer):
    batch = _batch()
    batch["labels"] = np.full_like(batch["labels"], -1)
    history = trainer.run(batch, [0.01, 0.01])
    assert np.isfinite(history["loss"]).all()
    np.testing.assert_array_equal(history["box_loss"], [0, 0])


@pytest.mark.slow
def test_weights_of_the_losses_and_clipping(trainer):
    plain = trainer.run(_batch(), [0.0])
    other = Trainer(heatmap_weight=2.0, box_weight=10.0, clip_norm=0.01)
    history = other.run(_batch(), [0.0])
    # Losses are reported as they are summed, weights included; the default box weight is 5.
    np.testing.assert_allclose(history["heatmap_loss"], 2 * plain["heatmap_loss"], rtol=1e-5)
    np.testing.assert_allclose(history["box_loss"], 2 * plain["box_loss"], rtol=1e-5)
    np.testing.assert_allclose(history["loss"], 2 * plain["loss"], rtol=1e-5)
    # The reported norm is the one before clipping; what the buffers hold has the norm of the limit.
    np.testing.assert_allclose(history["gradient_norm"], 2 * plain["gradient_norm"], rtol=1e-4)
    clipped = [
        buffer - rule[1] * parameter
        for buffer, rule, parameter in zip(other.optimizer.buffers.values(), other.optimizer.rules, other.parameters)
    ]
    np.testing.assert_allclose(tf.linalg.global_norm(clipped), 0.01, rtol=1e-3)


@pytest.mark.slow
def test_loss_scale_does_not_change_the_update(trainer, scaled):
    first = trainer.run(_batch(), [0.01])
    np.testing.assert_allclose(first["gradient_norm"], scaled.run(_batch(), [0.01])["gradient_norm"], rtol=1e-4)
    for ours, theirs in zip(trainer.values(), scaled.values()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_overflow_skips_the_update_and_halves_the_scale(scaled):
    scaled.run(_batch(), [0.01])
    before = [parameter.numpy() for parameter in scaled.parameters]
    scaled.loss_scale.value.assign(3e38)  # any gradient overflows
    scaled.run(_batch(), [0.01], fresh=False)
    for old, parameter in zip(before, scaled.parameters):
        np.testing.assert_array_equal(old, parameter)
    np.testing.assert_allclose(scaled.loss_scale.value, 1.5e38)


@pytest.mark.slow
def test_a_bad_step_and_those_after_it_change_nothing_and_good_ones_are_what_they_were(trainer):
    watched = Trainer(sentinel=Sentinel(explode_factor=20.0))
    good, broken = _painted(_batch()), _painted(_batch())
    broken["heatmap"][2, 3, 5, 1] = np.nan
    everything = [*watched.model.variables, *watched.optimizer.variables, *watched.average.variables]

    first, plain = watched.run([good, good], [0.01, 0.02]), trainer.run([good, good], [0.01, 0.02])
    for name in METRICS:
        np.testing.assert_array_equal(first[name], plain[name])
    for ours, theirs in zip(watched.values(), trainer.values()):
        np.testing.assert_array_equal(ours, theirs)
    assert first["proceed"].tolist() == [True, True]

    watched.run([good], [0.01])
    expected = [variable.numpy() for variable in everything]
    second = watched.run([good, broken, good], [0.01, 0.02, 0.03])
    assert second["proceed"].tolist() == [True, False, False]
    assert not np.isfinite(second["gradient_norm"][1])
    for variable, value in zip(everything, expected):
        np.testing.assert_array_equal(variable, value, err_msg=variable.name)
    assert int(watched.sentinel.bad_step) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "loss_names", "accumulate"),
    [
        ("ttfnet", ("heatmap_loss", "box_loss"), 1),
        ("ttfnet", ("heatmap_loss", "box_loss"), 2),
        ("centernet", ("heatmap_loss", "size_loss", "offset_loss"), 1),
    ],
)
def test_steps_compiled_by_xla_equal_plain_ones_and_are_traced_once(method, loss_names, accumulate):
    # One strategy: those of a process would mix up their collective operations.
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    plain_method, traced, results = METHOD[method](**SETTINGS), [], []

    def counted(*args, **keywords):
        traced.append(keywords["static_shapes"])
        return plain_method.losses(*args, **keywords)

    for jit_compile, used in ((False, plain_method), (True, dataclasses.replace(plain_method, losses=counted))):
        with strategy.scope():
            options = {"sentinel": Sentinel(), "jit_compile": jit_compile, "name": method, "method": used, "accumulate": accumulate}
            trainer = Trainer("deformable", **options)
            calls = [([0.001], 0), ([0.002, 0.001], 1), ([0.001], 3)]
            history = [trainer.run(_batch(), rates, step, fresh=step == 0) for rates, step in calls]
            results.append((history, [variable.numpy() for variable in trainer.model.variables]))
    (expected, variables), (compiled, compiled_variables) = results
    assert traced == [True]
    for ours, theirs in zip(compiled, expected):
        for name in ("loss", *loss_names, "gradient_norm", "positives", "regression_samples", "proceed", "idle_sides"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
    for ours, theirs in zip(compiled_variables, variables):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def _halves(same_images):
    """Eight images of which the second four have fewer boxes: one of them two, the others none."""
    batch = _batch(8)
    if same_images:
        batch["image"][4:] = batch["image"][:4]
    batch["labels"][5:] = -1
    return batch


@pytest.mark.slow
@pytest.mark.parametrize("normalizer", ["global", "replica"])
def test_parts_make_the_step_of_the_whole_batch(trainer, normalizer):
    # Both parts have the same images, and so the statistics of the whole batch; their counts of boxes are 8 and 2.
    # The first step is small: the gradients of the second magnify its rounding, which depends on the threads of the machine.
    batch, rates = _halves(same_images=True), [0.002, 0.02]
    whole, parts = Trainer(normalizer=normalizer), Trainer(normalizer=normalizer, accumulate=2)
    expected, found = whole.run(batch, rates), parts.run(batch, rates)
    for name in (*METRICS, "positives"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    updated = whole.values()
    for ours, theirs in zip(parts.values(), updated):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    whole.reset()
    assert max(np.abs(now - start).max() for now, start in zip(updated, whole.values())) > 1e-3  # a thousand times that tolerance


@pytest.mark.slow
def test_each_part_has_statistics_of_its_own_as_a_replica_has():
    # The twin computes replicas, of which each has its own statistics too, without a loop in the graph.
    batch, trainer = _halves(same_images=False), Trainer(accumulate=2)
    found = trainer.run(batch, [0.0])
    trainer.reset()
    method, ids = ttfnet(**SETTINGS), {"image_id": np.arange(8)}
    twin = inspect_step(trainer.model, method, {**batch, **ids}, replicas=2)
    for name in ("loss", "heatmap_loss", "box_loss"):
        np.testing.assert_allclose(found[name][0], twin["losses"][name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["gradient_norm"][0], twin["gradient_norm"], rtol=1e-5)
    whole = inspect_step(trainer.model, method, {**batch, **ids})
    assert abs(whole["gradient_norm"] / twin["gradient_norm"] - 1) > 1e-3  # the statistics do matter
    parts = inspect_step(trainer.model, method, {**batch, **ids}, accumulate=2)
    assert parts["losses"] == pytest.approx(twin["losses"], rel=1e-6)


@pytest.mark.parametrize(("norm", "limit", "expected"), [(70.0, 35.0, 0.5), (10.0, 35.0, 1.0), (70.0, 0.0, 1.0)])
def test_clip_scale(norm, limit, expected):
    np.testing.assert_allclose(clip_scale(tf.constant(norm), limit), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_close_to_float32(deformable, precision):
    rates = [0.001] * 3
    expected = deformable.run(_batch(), rates)
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        mixed = Trainer("deformable", loss_scale=LossScale(initial=256.0), precision=precision)
        history = mixed.run(_batch(), rates)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=0.02)
    assert {parameter.dtype for parameter in mixed.parameters} == {tf.float32}
    assert any(np.any(now != start) for now, start in zip(mixed.values(), mixed._initial))


def test_wrong_arguments_are_refused():
    state = TrainState(None, {}, None)
    with pytest.raises(ValueError, match="'global' or 'replica', received 'batch'"):
        build_train_function(tf.distribute.get_strategy(), state, ttfnet(**SETTINGS), normalizer="batch")
    with pytest.raises(ValueError, match="accumulate must be 1 or more, received 0"):
        build_train_function(tf.distribute.get_strategy(), state, ttfnet(**SETTINGS), accumulate=0)
    with pytest.raises(ValueError, match="restore_statistics needs a sentinel"):
        build_train_function(tf.distribute.get_strategy(), state, ttfnet(**SETTINGS), restore_statistics=True)
