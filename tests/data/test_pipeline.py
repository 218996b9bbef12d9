"""Batches: order, resuming, shards, targets, and images that cannot be read."""

import dataclasses
import os

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.data import pipeline
from ttfnet_tf.data.augment import Augmentation, augment_image
from ttfnet_tf.data.coco import AnnotatedImage, CocoSplit
from ttfnet_tf.data.image_reader import ImageReader
from ttfnet_tf.data.order import epoch_order
from ttfnet_tf.data.pipeline import ImageNotes, build_eval_dataset, build_train_dataset, iterate, steps_per_epoch
from ttfnet_tf.data.samples import train_sample
from ttfnet_tf.data.transforms import image_rng
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.ttfnet import ttfnet

SIZE = (32, 64)
AUGMENTED = Augmentation(photometric=True, expand=0.5, min_iou_crop=True)
CORNERS = np.array([[0, 0, 8, 9], [30, 2, 39, 12], [5, 30, 20, 47]], np.float32)
TARGETS = {"alpha": 0.54, "beta": 0.54, "area": "gaussian", "weight": "log"}


@pytest.fixture
def make_split(tmp_path):
    """make_split(n): n images of random pixels, ids 100, 101, ..., with 0, 1, 2, 0, 1, ... boxes of three classes."""

    def make_split(count, size=(48, 40)):
        images = []
        for number in range(count):
            rng = np.random.default_rng(number)
            path = tmp_path / f"{number}.png"
            cv2.imwrite(str(path), rng.integers(0, 255, (*size, 3), np.uint8))
            corner = rng.uniform(0, 20, (number % 3, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(3, 18, corner.shape)], axis=1).astype(np.float32)
            images.append(AnnotatedImage(100 + number, path, size, boxes, rng.integers(0, 3, number % 3).astype(np.int32)))
        return CocoSplit(images, [2, 5, 9], ["a", "b", "c"], tmp_path / "a.json", {})

    return make_split


def _train(split, targets=TARGETS, **changes):
    method = ttfnet(image_size=SIZE, num_classes=3, **targets)
    settings = {"image_size": SIZE, "batch_size": 4, "seed": 3, "method": method, "backend": "device"}
    return build_train_dataset(split, **{**settings, **changes})


def _take(dataset, count):
    return [{name: value.numpy() for name, value in batch.items()} for batch in iterate(dataset.take(count))]


def _ids(dataset, count):
    return np.concatenate([batch["image_id"] for batch in _take(dataset, count)]).tolist()


def _assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize(("images", "batch", "steps"), [(8, 4, 2), (9, 4, 3), (3, 4, 1), (1, 1, 1), (292, 8, 37)])
def test_steps_per_epoch(images, batch, steps):
    assert steps_per_epoch(images, batch) == steps


def test_every_epoch_takes_each_image_once_and_fills_up_from_its_start(make_split):
    """10 images, batches of 4: rows 10 and 11 of an epoch are its rows 0 and 1."""
    ids = _ids(_train(make_split(10)), 6)
    first, second = ids[:12], ids[12:]
    for epoch in (first, second):
        assert sorted(epoch[:10]) == list(range(100, 110))
        assert epoch[10:] == epoch[:2]
    assert first != second


def test_a_batch_larger_than_the_split_repeats_images(make_split):
    ids = _ids(_train(make_split(3), batch_size=8), 1)
    assert sorted(ids[:3]) == [100, 101, 102]
    assert ids == (ids[:3] * 3)[:8]


def test_the_seed_decides_the_order(make_split):
    split = make_split(20)
    ids = _ids(_train(split), 5)
    assert _ids(_train(split), 5) == ids
    assert _ids(_train(split, seed=4), 5) != ids


@pytest.mark.parametrize(
    ("backend", "starts"),
    [*(pytest.param(*row, marks=pytest.mark.slow) for row in (("py_function", (1, 2, 5)), ("graph", (3,)))), ("device", (1, 4))],
)
def test_starting_at_any_step_gives_the_same_bytes(make_split, backend, starts):
    split = make_split(6)
    straight = _take(_train(split, backend=backend), 6)
    for start in starts:
        for expected, got in zip(straight[start:], _take(_train(split, backend=backend, start_step=start, workers=2), 6 - start)):
            _assert_equal(expected, got)


def test_augmented_batches_are_functions_of_seed_epoch_and_index(make_split):
    """Any start, any number of workers; each row is `augment_image` of its file, and lost boxes leave padding."""
    split = make_split(6)
    split = dataclasses.replace(
        split, images=[dataclasses.replace(p, boxes=CORNERS, labels=np.arange(3, dtype=np.int32)) for p in split.images]
    )
    straight = _take(_train(split, augment=AUGMENTED, backend="py_function"), 4)
    for expected, got in zip(straight[3:], _take(_train(split, augment=AUGMENTED, backend="py_function", start_step=3, workers=2), 1)):
        _assert_equal(expected, got)
    lost = 0
    for step, batch in enumerate(straight):  # two steps an epoch
        for row, image_id in enumerate(batch["image_id"]):
            annotated = split.images[image_id - 100]
            image = cv2.imread(str(annotated.path))[:, :, ::-1]
            rng = image_rng(3, step // 2, int(image_id - 100))
            image, boxes, labels = augment_image(image, annotated.boxes, annotated.labels, SIZE, AUGMENTED, rng)
            np.testing.assert_array_equal(batch["image"][row], image)
            np.testing.assert_array_equal(batch["boxes"][row, : len(boxes)], boxes)
            np.testing.assert_array_equal(batch["labels"][row, : len(boxes)], labels)
            assert (batch["labels"][row, len(boxes) :] == -1).all()
            assert (batch["boxes"][row, len(boxes) :] == 0).all()
            expected = paint_targets(boxes, labels, image_size=SIZE, num_classes=3, **TARGETS)
            np.testing.assert_array_equal(batch["heatmap"][row], expected["heatmap"])
            lost += 3 - len(boxes)
            assert batch["original_size"][row].tolist() == [48, 40]
    assert lost > 0


@pytest.mark.parametrize("shards", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_shards_make_up_the_global_batch(make_split, shards):
    split = make_split(7)
    whole = _take(_train(split, backend="py_function"), 4)
    parts = [_take(_train(split, backend="py_function", num_shards=shards, shard_index=k), 4) for k in range(shards)]
    for step, batch in enumerate(whole):
        _assert_equal(batch, {name: np.concatenate([part[step][name] for part in parts]) for name in batch})


def test_rows_are_resized_flipped_and_padded(make_split):
    """Each row is the file resized by OpenCV, or its mirror image; boxes scale by 64/40 and 32/48."""
    split = make_split(12)
    flips = 0
    for batch in _take(_train(split), 3):
        for row, image_id in enumerate(batch["image_id"]):
            annotated = split.images[image_id - 100]
            image = cv2.resize(cv2.imread(str(annotated.path))[:, :, ::-1], (64, 32), interpolation=cv2.INTER_LINEAR)
            boxes = annotated.boxes * np.float32([1.6, 32 / 48, 1.6, 32 / 48])
            if not np.array_equal(batch["image"][row], image):
                flips += 1
                image, boxes = image[:, ::-1], np.stack([63 - boxes[:, 2], boxes[:, 1], 63 - boxes[:, 0], boxes[:, 3]], axis=1)
            np.testing.assert_array_equal(batch["image"][row], image)
            known = len(boxes)
            np.testing.assert_allclose(batch["boxes"][row, :known], boxes, rtol=1e-5)
            np.testing.assert_array_equal(batch["labels"][row, :known], annotated.labels)
            assert (batch["labels"][row, known:] == -1).all()
            assert (batch["boxes"][row, known:] == 0).all()
            np.testing.assert_array_equal(batch["original_size"][row], (48, 40))
    assert 0 < flips < 12


@pytest.mark.parametrize(("probability", "mirrored"), [(0.0, False), (1.0, True)])
def test_flip_is_a_probability(make_split, probability, mirrored):
    split = make_split(1)
    (batch,) = _take(_train(split, batch_size=1, augment=Augmentation(flip=probability)), 1)
    image = cv2.resize(cv2.imread(str(split.images[0].path))[:, :, ::-1], (64, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(batch["image"][0], image[:, ::-1] if mirrored else image)


def test_flips_differ_between_epochs(make_split):
    split = make_split(1)
    images = {batch["image"].tobytes() for batch in _take(_train(split, batch_size=1), 12)}
    assert len(images) == 2


SETTINGS = [
    {},
    {"area": "rectangle", "weight": "sqrt"},
    {"weight": "norm", "alpha": 0.8},
    {"weight": "none", "box_per_class": True},
    {"area": "rectangle", "box_per_class": True},
]


@pytest.mark.parametrize(
    ("backend", "tolerance", "changes"),
    [
        *(("py_function", 0, changes) for changes in SETTINGS),
        *(pytest.param("graph", 1e-5, changes, marks=pytest.mark.slow) for changes in SETTINGS[-2:]),
    ],
    ids=str,
)
def test_targets_are_drawn_from_the_boxes_of_each_row(make_split, backend, tolerance, changes):
    split = make_split(6)
    settings = {**TARGETS, **changes}
    groups = 3 if changes.get("box_per_class") else 1
    dataset = _train(split, targets=settings, backend=backend)
    assert [tuple(dataset.element_spec[name].shape) for name in ("heatmap", "box_target", "box_weight")] == [
        (4, 8, 16, 3),
        (4, 8, 16, 4 * groups),
        (4, 8, 16, groups),
    ]
    (batch,) = _take(dataset, 1)
    assert (batch["heatmap"] == 1).any()
    for row in range(4):
        expected = paint_targets(batch["boxes"][row], batch["labels"][row], image_size=SIZE, num_classes=3, **settings)
        for name, value in expected.items():
            np.testing.assert_allclose(batch[name][row], value, rtol=tolerance, atol=tolerance)


def test_shapes_are_static_and_the_device_backend_has_no_targets(make_split):
    spec = _train(make_split(5)).element_spec
    assert {name: (tuple(s.shape), s.dtype) for name, s in spec.items()} == {
        "image": ((4, 32, 64, 3), tf.uint8),
        "boxes": ((4, 2, 4), tf.float32),
        "labels": ((4, 2), tf.int32),
        "image_id": ((4,), tf.int64),
        "original_size": ((4, 2), tf.int32),
    }


@pytest.mark.parametrize("changes", [{}, {"augment": AUGMENTED}, {"backend": "py_function"}, {"backend": "graph"}, {"workers": 3}])
def test_no_iterator_has_the_thread_for_which_its_deletion_waits(make_split, changes):
    assert _train(make_split(5), **changes).options().autotune.enabled is False


def test_evaluation_has_no_such_thread_either(make_split):
    assert build_eval_dataset(make_split(5), image_size=SIZE, batch_size=4).options().autotune.enabled is False


def test_a_split_without_boxes_has_one_row_of_padding(make_split):
    (batch,) = _take(_train(make_split(1), batch_size=1, backend="py_function"), 1)
    assert batch["boxes"].shape == (1, 1, 4)
    assert batch["heatmap"].max() == 0


def test_wrong_arguments(make_split):
    split = make_split(2)
    for changes in ({"backend": "gpu"}, {"broken_images": "hide"}, {"num_shards": 3}, {"num_shards": 2, "shard_index": 2}):
        with pytest.raises(ValueError, match="must be"):
            _train(split, **changes)


# Images that cannot be read.

BROKEN = {
    "empty": (b"", "is empty; an image was expected"),
    "text": (b"hello, I am no image\n" * 9, "is not a readable image; expected JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, TGA or AVIF"),
    "cut short": (cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()[:900], None),
}


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("build", [_train, lambda split: build_eval_dataset(split, image_size=SIZE, batch_size=2)], ids=["train", "eval"])
def test_a_broken_image_stops_with_one_line(make_split, build, data, reason, capfd):
    split = make_split(6)
    path = split.images[4].path
    path.write_bytes(data)
    dataset = build(split)
    capfd.readouterr()
    with pytest.raises(UserError) as caught:
        list(iterate(dataset.take(3)))
    line = str(caught.value)
    assert line.startswith(f"{path} (image id 104): {reason or 'is a damaged image (cut short)'}")
    assert line.endswith("; fix or remove it, or set data.broken_images=skip")
    assert "\n" not in line
    assert "Traceback" not in capfd.readouterr().err
    assert caught.value.__suppress_context__


def test_a_broken_image_inside_a_traced_function(make_split):
    split = make_split(1)
    split.images[0].path.write_bytes(b"")
    iterator = iter(_train(split, batch_size=1))

    @tf.function(autograph=False)
    def step(iterator):
        return next(iterator)["image"]

    with pytest.raises(tf.errors.OpError) as caught:
        step(iterator)
    assert isinstance(pipeline.reraise(caught.value), UserError)
    assert str(pipeline.reraise(caught.value)).startswith(f"{split.images[0].path} (image id 100): is empty")


def test_other_errors_stay_what_they_are(make_split):
    error = ValueError("mine")
    assert pipeline.reraise(error) is error
    dataset = tf.data.Dataset.range(2).map(lambda i: tf.ensure_shape(tf.range(i), [0]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(iterate(dataset))


def test_a_missing_image_is_found_before_the_first_step(make_split):
    split = make_split(4)
    for number in (1, 3):
        split.images[number].path.unlink()
    expected = f"{split.images[1].path} (image id 101) and 1 more of 4: no such file; check the images folder of {split.annotations}"
    for build in (_train, lambda split: build_eval_dataset(split, image_size=SIZE, batch_size=2)):
        with pytest.raises(UserError) as caught:
            build(split)
        assert str(caught.value) == expected


def test_each_file_is_looked_for_once_however_many_datasets_are_built(make_split, monkeypatch):
    split = make_split(3)
    asked, is_file = [], os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda path: asked.append(path) or is_file(path))
    pipeline.check_files(split, "raise")
    _train(split)
    for _ in range(2):
        build_eval_dataset(split, image_size=SIZE, batch_size=2)
    assert asked == [str(image.path) for image in split.images]


def test_skipping_takes_the_next_of_the_order_and_names_each_image_once(make_split):
    split = make_split(8)
    order = _ids(_train(split), 4)  # two epochs of two steps
    for image_id in (103, 106):
        split.images[image_id - 100].path.write_bytes(b"")
    split.images[1].path.unlink()
    notes = ImageNotes()
    found = _ids(_train(split, broken_images="skip", notes=notes), 4)
    for epoch in (0, 1):
        permutation = order[8 * epoch : 8 * epoch + 8]
        for position, image_id in enumerate(found[8 * epoch : 8 * epoch + 8]):
            following = permutation[position:] + permutation[:position]
            assert image_id == next(i for i in following if i not in (101, 103, 106))
    assert sorted(notes.broken) == [101, 103, 106]
    lines = notes.new_lines()
    assert sorted(lines) == [
        f"{split.images[1].path} (image id 101): cannot be read (No such file or directory)",
        f"{split.images[3].path} (image id 103): is empty; an image was expected",
        f"{split.images[6].path} (image id 106): is empty; an image was expected",
    ]
    assert notes.new_lines() == []


@pytest.mark.parametrize("broken", [(), (1, 4)])
def test_rows_of_files_are_samples(make_split, broken):
    """Pixels from Python and boxes from operations are the rows of `train_sample`, which is readable and has both."""
    split = make_split(7, size=(45, 77))
    for index in broken:
        split.images[index].path.write_bytes(b"")
    settings = {"image_size": SIZE, "seed": 3, "augmentation": Augmentation(), "broken_images": "skip"}
    batches = _take(_train(split, broken_images="skip"), 4)
    order = epoch_order(3, 0, tf.range(8, dtype=tf.int64), 7), epoch_order(3, 1, tf.range(8, dtype=tf.int64), 7)
    for place in range(16):
        epoch, position = place // 8, place % 8
        index = int(order[epoch][position])
        expected = train_sample(split, epoch, position, index, notes=ImageNotes(), reader=ImageReader(7), **settings)
        _assert_equal(expected, {name: values[place % 4] for name, values in batches[place // 4].items()})


def test_skipping_keeps_steps_independent(make_split):
    split = make_split(6)
    split.images[2].path.write_bytes(b"")
    straight = _take(_train(split, broken_images="skip", backend="py_function"), 4)
    for expected, got in zip(straight[3:], _take(_train(split, broken_images="skip", backend="py_function", start_step=3), 1)):
        _assert_equal(expected, got)


def test_no_readable_image_at_all(make_split):
    split = make_split(2)
    for image in split.images:
        image.path.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        _take(_train(split, broken_images="skip", batch_size=1, workers=1), 1)
    assert str(caught.value).startswith(f"{split.annotations}: none of its 2 images can be read; the first: {split.images[0].path.parent}")
    for image in split.images:
        image.path.unlink()
    read_again = dataclasses.replace(split)
    with pytest.raises(UserError, match=r"and 1 more of 2: no such file"):
        _train(read_again, broken_images="skip")


def test_another_size_than_annotated_is_noted(make_split):
    split = make_split(2)
    cv2.imwrite(str(split.images[1].path), np.zeros((40, 48, 3), np.uint8))
    notes = ImageNotes()
    batch = _take(_train(split, batch_size=2, notes=notes), 1)[0]
    assert batch["original_size"][batch["image_id"] == 101].tolist() == [[40, 48]]
    assert notes.new_lines() == [f"{split.images[1].path} (image id 101): is 48x40, not 40x48 as annotated; its boxes may not fit"]


# OpenCV's threads.


def test_opencv_has_one_thread_while_batches_are_read_and_its_own_number_before_and_after(make_split):
    split = make_split(2)
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        dataset = _train(split, batch_size=1)
        assert cv2.getNumThreads() == 2
        first, second = iterate(dataset), iterate(dataset)
        next(first)
        next(second)
        assert cv2.getNumThreads() == 1
        first.close()
        assert cv2.getNumThreads() == 1  # the other still reads
        second.close()
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("augment", [AUGMENTED, Augmentation(affine=True, lighting=True)], ids=["10x", "centernet"])
def test_pixels_do_not_depend_on_the_threads_of_opencv(make_split, augment):
    split = make_split(3, size=(480, 640))
    before = cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            iterator = iter(_train(split, batch_size=3, augment=augment))
            results.append({name: value.numpy() for name, value in next(iterator).items()})
    finally:
        cv2.setNumThreads(before)
    _assert_equal(*results)


# Evaluation.


def test_evaluation_takes_every_image_in_order_and_pads_the_last_batch(make_split):
    split = make_split(5)
    dataset = build_eval_dataset(split, image_size=SIZE, batch_size=4)
    assert tf.data.experimental.cardinality(dataset).numpy() == 2
    first, last = _take(dataset, 9)
    assert np.concatenate([first["image_id"], last["image_id"]]).tolist() == [100, 101, 102, 103, 104, -1, -1, -1]
    assert first["image"].shape == last["image"].shape == (4, 32, 64, 3)
    assert not last["image"][1:].any()
    assert (last["labels"][1:] == -1).all()
    image = cv2.resize(cv2.imread(str(split.images[4].path))[:, :, ::-1], (64, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(last["image"][0], image)
    np.testing.assert_allclose(last["boxes"][0, :1], split.images[4].boxes * np.float32([1.6, 32 / 48, 1.6, 32 / 48]), rtol=1e-5)
    assert last["original_size"][0].tolist() == [48, 40]


def test_evaluation_skips_into_padding_rows(make_split):
    split = make_split(4)
    split.images[1].path.write_bytes(b"")
    notes = ImageNotes()
    batches = _take(build_eval_dataset(split, image_size=SIZE, batch_size=2, broken_images="skip", notes=notes), 9)
    assert np.concatenate([batch["image_id"] for batch in batches]).tolist() == [100, -1, 102, 103]
    assert list(notes.broken) == [101]
