"""`ttfnet benchmark input`: its splits, and what it prints and writes."""

import json

import cv2
import numpy as np
import pytest

from ttfnet_tf import cli
from ttfnet_tf.benchmarks import input as benchmark
from ttfnet_tf.config import load_config
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.shapes import draw_shapes


def test_a_repeated_split_has_the_images_again_and_again(tmp_path):
    draw_shapes(tmp_path, train=3, val=1, size=(64, 64), seed=0)
    split = load_coco(tmp_path / "annotations/train.json", tmp_path / "train", training=True)
    for count in (2, 3, 8):
        more = benchmark.repeated(split, count)
        assert [image.id for image in more.images] == list(range(1, count + 1))
        for number, image in enumerate(more.images):
            expected = split.images[number % 3]
            assert (image.path, image.size, image.labels.tolist()) == (expected.path, expected.size, expected.labels.tolist())
            np.testing.assert_array_equal(image.boxes, expected.boxes)


@pytest.fixture
def small(monkeypatch):
    for name, value in (("_SECONDS", 0.02), ("_DRAWN", 3), ("_DRAWN_SIZE", (48, 64)), ("THREADS", (1, 2))):
        monkeypatch.setattr(benchmark, name, value)


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True])
def test_the_command_prints_and_writes_every_rate(small, tmp_path, capsys, given):
    (tmp_path / "a.yaml").write_text("data: {image_size: [64, 64]}\ntrain: {batch_size: 2}\n")
    data = []
    if given:
        shapes = tmp_path / "shapes"
        draw_shapes(shapes, train=3, val=1, size=(64, 64), seed=0)
        data = [f"data.train.annotations={shapes}/annotations/train.json", f"data.train.images={shapes}/train"]
    command = ["benchmark", "input", str(tmp_path / "a.yaml"), "--repeats", "1", "--images", "5", "9", "--json", str(tmp_path / "o.json")]
    assert cli.main([*command, *data]) == 0
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "o.json").read_text())["stages"]
    names = [benchmark.OPENCV, benchmark.TENSORFLOW, "5 images", "9 images"]
    assert [(one["name"], one["threads"]) for one in written[:-2]] == [(name, k) for k in (1, 2) for name in names]
    assert all(one["per_second"] > 0 and one["per_core"] > 0 for one in written[:-2])
    assert [one["name"] for one in written[-2:]] == ["lock, first read", "lock"]
    assert all(0 < one["milliseconds"] < 50 for one in written[-2:])
    assert all(f"{name:34} {k:2} threads" in out for k in (1, 2) for name in names)


def test_the_functions_that_are_timed_are_put_back(small, tmp_path):
    before = cv2.imdecode, cv2.resize, cv2.flip, np.equal, np.flatnonzero
    split = benchmark._drawn(tmp_path)
    (tmp_path / "a.yaml").write_text("data: {image_size: [64, 64]}\n")
    assert min(benchmark.lock_milliseconds(load_config(tmp_path / "a.yaml", []), split)) > 0
    assert (cv2.imdecode, cv2.resize, cv2.flip, np.equal, np.flatnonzero) == before


def test_numbers_of_images_are_positive(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("{}")
    assert cli.main(["benchmark", "input", str(tmp_path / "a.yaml"), "--images", "0"]) == 2
    assert "--images" in capsys.readouterr().err
