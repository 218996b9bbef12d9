"""A run with `data.resize: letterbox`, exported: every form detects on images of any ratio what the run does."""

import io
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from exported_run import files, narrow  # noqa: F401 fixtures
from PIL import Image
from small_run import write_run

from ttfnet_tf import cli
from ttfnet_tf.benchmarks import conformance_matrix
from ttfnet_tf.benchmarks.timing import Times
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate_run import evaluate_run
from ttfnet_tf.export.forms import installed_formats
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.serving.responses import detections_of

pytestmark = pytest.mark.slow

SIZES = {1: (20, 90), 2: (64, 96), 3: (130, 70), 4: (70, 70)}


@pytest.fixture(scope="module")
def run(tmp_path_factory, narrow):  # noqa: F811
    return write_run(tmp_path_factory.mktemp("run") / "boxed", overrides=["data.resize=letterbox", "decode.top_k=100"])


@pytest.fixture(scope="module")
def data(run):
    """Overrides that name images of noise with very different ratios."""
    images, annotations = run.parent / "noise", run.parent / "noise.json"
    images.mkdir()
    for number, size in SIZES.items():
        cv2.imwrite(str(images / f"{number}.png"), np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8))
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in SIZES.items()],
        "categories": [{"id": i, "name": name} for i, name in ((3, "cat"), (8, "dog"), (90, "bird"))],
        "annotations": [{"id": i, "image_id": i, "category_id": 3, "bbox": [2, 2, 18, 15]} for i in SIZES],
    }
    annotations.write_text(json.dumps(content))
    return [f"data.{part}.{key}={value}" for part in ("train", "val") for key, value in (("annotations", annotations), ("images", images))]


@pytest.fixture(scope="module")
def written(run, data):
    """The folder that `export --matrix` wrote, with every format that is installed; times are faked."""

    def times(models, **keywords):
        return {name: Times((1.0,)) for name in models}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance_matrix, "time_in_turn", times)
        arguments = ["--matrix", "--format", *installed_formats(), "--precision", "fp32", "--threads", "1"]
        assert cli.main(["export", str(run), "--out", str(run.parent / "out"), *arguments, *data]) == 0
    return run.parent / "out" / "boxed"


@pytest.fixture(scope="module")
def exported(run):
    """The version folder of the run's SavedModel."""
    out = run.parent / "models"
    assert cli.main(["export", str(run), "--out", str(out)]) == 0
    return out / "boxed" / "1"


def test_every_form_in_the_matrix_has_the_boxes_of_the_run(written):
    checkpoint, *rows = json.loads((written / "matrix.json").read_text())["rows"]
    assert len(rows) >= 2
    for row in rows:
        assert row["matched"] == row["compared"] > 10
        assert max(row["corners"]) < 1e-2
        assert max(row["scores"]) < 1e-4
        assert row["AP"] == pytest.approx(checkpoint["AP"], abs=1e-6)


def test_boxes_lie_on_their_image(run, data, tmp_path):
    found = evaluate_run(run, data[2:], out=tmp_path).result.detections
    assert {one["image_id"] for one in found} == set(SIZES)
    for one in found:
        (x, y, width, height), size = one["bbox"], SIZES[one["image_id"]]
        assert 0 <= x <= x + width - 1 < size[1]  # corners are inclusive
        assert 0 <= y <= y + height - 1 < size[0]
    stretched = evaluate_run(run, [*data[2:], "data.resize=stretch"]).result.detections
    assert found != stretched
    assert (run / "eval" / "7-stretch" / "detections.json").exists()


def test_the_served_graph_takes_images_of_any_ratio(run, exported, files):  # noqa: F811
    """As arrays and as files, alone and in one batch."""
    signatures = tf.saved_model.load(str(exported)).signatures
    local = Detector.load(run, score_threshold=0.2)
    contents = list(files.values())
    for size in SIZES.values():
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    names = dict(zip(local.category_ids, local.class_names))
    together = {name: value.numpy() for name, value in signatures["image_bytes"](image_bytes=tf.constant(contents)).items()}
    dropped = 0
    for row, content in enumerate(contents):
        expected = local(content)
        for answer, place in ((together, row), (signatures["image_bytes"](image_bytes=tf.constant([content])), 0)):
            outputs = {name: np.asarray(value) for name, value in answer.items()}
            served = detections_of(outputs, place, size=expected.size, class_names=names, score_threshold=0.2)
            assert len(served) == len(expected) == outputs["num_detections"][place]
            np.testing.assert_array_equal(served.class_ids, expected.class_ids)
            np.testing.assert_allclose(served.boxes, expected.boxes, rtol=0, atol=2e-5 * max(expected.size))
            np.testing.assert_allclose(served.scores, expected.scores, atol=1e-5)
        dropped += 100 - len(expected)
    assert dropped > 100  # the rows behind them are 0
    image = np.random.default_rng(1).integers(0, 256, (1, 30, 80, 3), np.uint8)
    answer = {name: value.numpy() for name, value in signatures["serving_default"](input_tensor=tf.constant(image)).items()}
    expected = local(image[0])
    boxes = answer["detection_boxes"][0, : len(expected)] * [30, 80, 30, 80]
    np.testing.assert_allclose(boxes[:, [1, 0, 3, 2]], expected.boxes, atol=2e-3)


LINE = "scaled by the smaller factor to fit into 64 x 96 pixels, in the upper left corner; the rest, on the right or below, is the colour "


def test_the_card_says_how_images_are_resized(exported):
    assert find_exported(exported).card["resize"] == "letterbox"
    page = (exported / "assets" / "model_card.md").read_text()
    assert f"images are {LINE}(124, 116, 104)." in page
    with pytest.raises(UserError, match=r"was exported with data\.resize=letterbox, which cannot be changed; export the run again"):
        evaluate_run(exported, ["data.resize=stretch"])


def test_so_does_the_card_of_a_tflite_file(written):
    card = find_exported(written / "model_fp32.tflite").card
    assert LINE in card["inputs"]["serving_default"]
    assert card["outputs"]["detection_boxes"].endswith("as fractions of the input's height and width, padding included")
