"""The conformance matrix of a small run: its content, where it is written, and that it measures the files on disk."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf import cli
from ttfnet_tf.benchmarks import conformance_matrix
from ttfnet_tf.benchmarks.timing import Times
from ttfnet_tf.export import model_card
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.inference.tflite_metadata import read_card
from ttfnet_tf.inference.tflite_predictor import interpreter_class

ROWS = [
    {"name": "checkpoint", "AP": 0.5, "AP50": 0.75, "AP75": -1.0, "megabytes": 57.04, "milliseconds": (9.0, 10.0, 12.0)},
    {
        "name": "tflite int8",
        "AP": 0.4955,
        "AP50": 0.75,
        "AP75": -1.0,
        "megabytes": 15.1,
        "milliseconds": (3.0, 4.0, 5.04),
        "compared": 12,
        "matched": 11,
        "corners": (3.8, 0.4),
        "scores": (0.27, 0.02),
    },
]
MATRIX = {
    "annotations": "val.json",
    "images": 72,
    "image_size": [256, 512],
    "compared_from": 0.3,
    "rows": ROWS,
    "machine": "2 cores, some processor",
    "threads": 2,
    "repeats": 30,
    "runtime": "ai-edge-litert 2.3.0",
}


def test_the_table():
    lines = model_card.matrix_table(MATRIX).splitlines()
    assert lines[2] == "| checkpoint | 0.5000 | 0.7500 | - |  |  |  | 10.0 (9.0 .. 12.0) | 57.0 |"
    assert lines[3] == "| tflite int8 | 0.4955 | 0.7500 | - | 3.800, 0.400 | 0.2700, 0.0200 | 11 of 12 | 4.0 (3.0 .. 5.0) | 15.1 |"
    about = lines[5]
    for part in ("72 images of val.json", "the 512 x 256 input", "of 30 calls", "2 threads", "ai-edge-litert 2.3.0", "some processor"):
        assert part in about


@pytest.fixture(scope="module")
def data(trained):
    """Overrides that name a data set of three noise images, with the classes of the run, for training and validation."""
    images, annotations = trained.parent / "noise", trained.parent / "noise.json"
    images.mkdir()
    sizes = {1: (70, 90), 2: (64, 96), 3: (130, 60)}
    for number, size in sizes.items():
        cv2.imwrite(str(images / f"{number}.png"), np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8))
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in sizes.items()],
        "categories": [{"id": i, "name": name} for i, name in ((3, "cat"), (8, "dog"), (90, "bird"))],
        "annotations": [{"id": i, "image_id": i, "category_id": 3, "bbox": [10, 10, 30, 30]} for i in sizes],
    }
    annotations.write_text(json.dumps(content))
    return [f"data.{part}.{key}={value}" for part in ("train", "val") for key, value in (("annotations", annotations), ("images", images))]


@pytest.fixture(scope="module")
def written(trained, data):
    """The folder that `export --matrix` wrote; times are faked, because their processes would load networks of full width."""

    def times(models, **keywords):
        assert keywords["threads"] == 1
        return {name: Times((float(number),)) for number, name in enumerate(models, start=1)}

    out = trained.parent / "matrix"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance_matrix, "time_in_turn", times)
        arguments = [
            "--format",
            "saved_model",
            "tflite",
            "--precision",
            "fp32",
            "--threads",
            "1",
            "--limit",
            "2",
            "--runtime",
            "tensorflow",
        ]
        assert cli.main(["export", str(trained), "--out", str(out), "--matrix", *arguments, *data]) == 0
    return out / "tiny"


@pytest.mark.slow
def test_every_form_is_measured(written):
    found = json.loads((written / "matrix.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["checkpoint", "saved_model", "tflite fp32"]
    assert (found["images"], found["threads"], found["image_size"]) == (2, 1, [64, 96])
    assert found["runtime"] == f"tensorflow {tf.__version__}"
    assert [row["milliseconds"][1] for row in found["rows"]] == [1, 2, 3]
    for row in found["rows"][1:]:
        assert row["matched"] == row["compared"] > 10
        assert max(row["corners"]) < 1e-2
        assert max(row["scores"]) < 1e-4
        assert row["AP"] == pytest.approx(rows["checkpoint"]["AP"], abs=1e-6)
    file = written / "model_fp32.tflite"
    assert rows["tflite fp32"]["megabytes"] == pytest.approx(file.stat().st_size / 1e6, rel=0.1)


@pytest.mark.slow
def test_every_model_card_has_the_matrix(written):
    expected = json.loads((written / "matrix.json").read_text())
    assert find_exported(written).card["matrix"] == expected
    page = (written / "matrix.md").read_text()
    assert page in (written / "1" / "assets" / "model_card.md").read_text()
    file = written / "model_fp32.tflite"
    assert read_card(file)["matrix"] == expected
    assert interpreter_class("tensorflow")(str(file)).get_signature_list().keys() == {"serving_default"}
    assert sorted(path.name for path in written.iterdir()) == ["1", "matrix.json", "matrix.md", "model_fp32.tflite"]


@pytest.mark.slow
def test_a_tflite_file_detects_what_its_run_does(written, trained, data, tmp_path, capsys):
    file, images = written / "model_fp32.tflite", trained.parent / "noise"
    for source, out in ((trained, "run"), (file, "file")):
        assert cli.main(["evaluate", str(source), "--out", str(tmp_path / out), *data[2:]]) == 0, capsys.readouterr().err
    expected, found = (json.loads((tmp_path / out / "detections.json").read_text()) for out in ("run", "file"))
    assert len(found) == len(expected) > 10
    for one, other in zip(expected, found):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        np.testing.assert_allclose([*other["bbox"], other["score"]], [*one["bbox"], one["score"]], rtol=0, atol=1e-2)
    assert cli.main(["predict", str(file), str(images), "--out", str(tmp_path / "drawings"), "--score-threshold", "0.2"]) == 0
    record = json.loads((tmp_path / "drawings" / "detections.json").read_text())
    assert sum(len(image["detections"]) for image in record["images"]) == len(found)
    detector = Detector.load(file, score_threshold=0.2)
    assert len(detector(images / "1.png")) == sum(one["image_id"] == 1 for one in found)
    assert detector.class_names == ("cat", "dog", "bird")


def test_missing_images_stop_it_before_any_work(trained, tmp_path, capsys):
    assert cli.main(["export", str(trained), "--out", str(tmp_path), "--matrix"]) == 2
    assert "data.val.annotations is not set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "value"), [("--repeats", "0"), ("--threads", "-1"), ("--limit", "0")])
def test_counts_below_one(trained, tmp_path, capsys, option, value):
    assert cli.main(["export", str(trained), "--out", str(tmp_path), "--matrix", option, value]) == 2
    assert f"{option} {value} must be 1 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_time_and_size_before_training(narrow, tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text("data: {image_size: [64, 64]}\nmodel: {neck_channels: [8, 8, 8]}")
    assert (
        cli.main(["benchmark", "export", str(settings), "--classes", "3", "--precision", "fp32", "--repeats", "2", "--threads", "1"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("3 classes, 64 x 64")
    figures = {line[:16].strip(): line.split() for line in lines[2:4]}
    assert list(figures) == ["saved_model", "tflite fp32"]  # first
    assert figures["saved_model"][-2] == "1.00"
    assert "of 2 calls in turn, 1 threads" in lines[-1]
