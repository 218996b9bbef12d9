"""A run used at another size than that of training: what it gives equals what a network built at that size gives."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from exported_run import narrow, trained  # noqa: F401 fixtures
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.exported_model import find_exported

SIZE = (96, 160)  # the run has 64 x 96


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), np.uint8) for size in ((50, 80), (128, 96))]


@pytest.fixture(scope="module")
def other(trained, tmp_path_factory):  # noqa: F811
    """The run with the other size in its settings: the same weights in a network that is built at that size."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("other") / "other")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["data"]["image_size"] = list(SIZE)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def _boxes(detector, images):
    return [found.to_json() for found in detector.batch(images, batch_size=2)]


@pytest.fixture(scope="module")
def expected(other, images):
    found = _boxes(Detector.load(other, score_threshold=0.2), images)
    assert all(found)
    return found


@pytest.mark.slow
def test_detector(trained, images, expected):  # noqa: F811
    detector = Detector.load(trained, image_size=SIZE, score_threshold=0.2)
    assert detector.image_size == SIZE
    assert _boxes(detector, images) == expected
    assert _boxes(Detector.load(trained, score_threshold=0.2), images) != expected


@pytest.mark.parametrize("size", [(64, 100), (64,), 64, (0, 64), ("a", "b"), (64.5, 64)])
def test_sizes_that_are_not_possible_are_refused(trained, size):  # noqa: F811
    with pytest.raises(UserError, match=r"data\.image_size"):
        Detector.load(trained, image_size=size)


@pytest.mark.slow
def test_predict(trained, images, expected, tmp_path):  # noqa: F811
    """In drawings and in records."""
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    command = ["predict", str(trained), *(str(tmp_path / f"{number}.png") for number in range(len(images))), "--score-threshold", "0.2"]
    assert cli.main([*command, "--out", str(tmp_path / "drawn"), f"data.image_size={list(SIZE)}"]) == 0
    content = json.loads((tmp_path / "drawn" / "detections.json").read_text())
    assert content["image_size"] == list(SIZE)
    drawn = {Path(one["file"]).name: one["detections"] for one in content["images"]}
    assert cli.main([*command, "--out", str(tmp_path / "records"), "--runner", "local", f"data.image_size={list(SIZE)}"]) == 0
    lines = (line for file in sorted((tmp_path / "records").glob("*.jsonl")) for line in file.read_text().splitlines())
    recorded = {Path(one["file"]).name: one["detections"] for one in map(json.loads, lines)}
    for number, boxes in enumerate(expected):
        for found in (drawn[f"{number}.png"], recorded[f"{number}.png"]):
            assert [one["class_id"] for one in found] == [one["class_id"] for one in boxes]
            np.testing.assert_allclose([one["box"] for one in found], [one["box"] for one in boxes], atol=1e-3)
            np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in boxes], atol=1e-4)


@pytest.mark.slow
def test_export(trained, images, expected, tmp_path):  # noqa: F811
    assert cli.main(["export", str(trained), "--out", str(tmp_path), "--name", "big", f"data.image_size={list(SIZE)}"]) == 0
    exported = find_exported(tmp_path / "big")
    assert exported.image_size == SIZE
    assert exported.card["config"]["data"]["image_size"] == list(SIZE)
    assert exported.card["results"] is None  # those of the run are of another size
    for found, boxes in zip(_boxes(Detector.load(tmp_path / "big", score_threshold=0.2), images), expected):
        assert [one["class_id"] for one in found] == [one["class_id"] for one in boxes]
        np.testing.assert_allclose([one["box"] for one in found], [one["box"] for one in boxes], atol=1e-3)
    line = rf"{tmp_path}/big/1: was exported with data\.image_size=\[96, 160\], which cannot be changed; export the run again with "
    with pytest.raises(UserError, match=line + r"data\.image_size=\[64, 96\]$"):
        Detector.load(tmp_path / "big", image_size=(64, 96))
    Detector.load(tmp_path / "big", image_size=SIZE, score_threshold=0.2)
    command = ["predict", str(tmp_path / "big"), str(tmp_path), "--out", str(tmp_path / "out"), "data.image_size=[64,96]"]
    args = cli.parse(command)
    with pytest.raises(UserError, match=line):
        args.command(args)
