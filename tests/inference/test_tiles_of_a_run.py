"""`predict` and `evaluate` in tiles, on a run: they give what `Detector.tiled` gives."""

import json

import numpy as np
import pytest
from exported_run import narrow, trained  # noqa: F401 fixtures

from ttfnet_tf import cli
from ttfnet_tf.inference.detector import Detector

SIZES = {7: (150, 200), 8: (60, 90), 9: (64, 230)}
TILE = 96


@pytest.fixture
def data(write_coco):
    """(annotations, folder, images by id)."""
    annotations, folder = write_coco(SIZES, [(7, 3, [10, 10, 40, 40])], {3: "cat", 8: "dog", 90: "bird"})
    return annotations, folder, {number: folder / f"{number}.png" for number in SIZES}


@pytest.fixture(scope="module")
def detector(trained):  # noqa: F811
    return Detector.load(trained, score_threshold=0.2)


@pytest.mark.slow
def test_predict(trained, detector, data, tmp_path, capsys):  # noqa: F811
    _, folder, files = data
    command = ["predict", str(trained), str(folder), "--out", str(tmp_path / "out"), "--score-threshold", "0.2", "--batch-size", "2"]
    assert cli.main([*command, "--tile", str(TILE), "--overlap", "0.25", "--max-pixels", "29999"]) == 0
    assert "7.png: has 200 x 150 pixels; images may have up to 29999" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert (content["tile"], content["overlap"]) == (TILE, 0.25)
    tiled = detector.tiled(TILE, 0.25)
    for one in content["images"]:
        expected = tiled.batch([one["file"]], batch_size=2)[0]
        assert [found["class_id"] for found in one["detections"]] == expected.class_ids.tolist()
        np.testing.assert_allclose([found["box"] for found in one["detections"]], expected.boxes, atol=1e-3)
    assert len(content["images"]) == 2
    assert tiled.batch([files[8]], batch_size=1)[0].to_json() == detector(files[8]).to_json()  # smaller than a tile
    assert len(tiled(files[9])) > len(detector(files[9]))


@pytest.mark.slow
def test_evaluate(trained, detector, data, capsys):  # noqa: F811
    annotations, folder, files = data
    settings = [f"data.val.annotations={annotations}", f"data.val.images={folder}"]
    assert cli.main(["evaluate", str(trained), *settings, "--tile", str(TILE), "--batch-size", "3"]) == 0
    found = json.loads((trained / "eval" / f"7-tile{TILE}" / "detections.json").read_text())
    expected = [one for number, file in files.items() for one in detector.tiled(TILE).batch([file], batch_size=3)[0].to_coco(number)]
    assert [(one["image_id"], one["category_id"]) for one in found] == [(one["image_id"], one["category_id"]) for one in expected]
    np.testing.assert_allclose([one["bbox"] for one in found], [one["bbox"] for one in expected], atol=1e-3)
    assert len(found) > 30
    assert "(3 images, up to 100 detections of a class in each)" in capsys.readouterr().out
    assert cli.main(["evaluate", str(trained), *settings, "--tile", str(TILE), "--max-detections", "300"]) == 0
    out = capsys.readouterr().out
    assert "(3 images, up to 300 detections of a class in each)" in out
    assert "AR300" in out
    record = json.loads((trained / "eval" / f"7-tile{TILE}-max300" / "metrics.json").read_text())
    assert record["max_detections"] == 300
    assert record["metrics"]["AP"] >= 0
    files[9].write_bytes(b"no image")
    assert cli.main(["evaluate", str(trained), *settings, "--tile", str(TILE)]) == 2
    assert "9.png (image id 9): is not a readable image" in capsys.readouterr().err
    assert cli.main(["evaluate", str(trained), *settings, "data.broken_images=skip", "--tile", str(TILE)]) == 0
    printed = capsys.readouterr()
    assert "(3 images, 1 of them skipped, up to 100 detections of a class in each)" in printed.out
    assert "9.png" in printed.err
