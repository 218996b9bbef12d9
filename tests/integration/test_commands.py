"""The commands one after the other, as a user types them: data, train, evaluate, predict; and the three lines of Python."""

import json

import pytest

from ttfnet_tf import Detector, cli

pytestmark = pytest.mark.slow

SMALL = ["data.image_size=[64,64]", "train.batch_size=2", "train.epochs=1", "optim.drop_epochs=[]", "train.summary_images=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    """shapes/ and a run/ of two steps on it."""
    folder = tmp_path_factory.mktemp("commands")
    shapes = folder / "shapes"
    assert cli.main(["data", "shapes", str(shapes), "--train", "4", "--val", "3", "--size", "96", "64"]) == 0
    data = [f"data.{split}.{key}" for split in ("train", "val") for key in ("annotations", "images")]
    paths = [shapes / "annotations" / "train.json", shapes / "train", shapes / "annotations" / "val.json", shapes / "val"]
    overrides = SMALL + [f"{key}={path}" for key, path in zip(data, paths)]
    assert cli.main(["train", str(root / "configs" / "demo.yaml"), "--work-dir", str(folder / "run"), *overrides]) == 0
    return folder


def test_a_run_leaves_what_the_documents_say(folder):
    run = folder / "run"
    for name in ("config.yaml", "labels.json", "environment.json", "metrics.jsonl", "checkpoints", "train", "eval/2/detections.json"):
        assert (run / name).exists(), name
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    assert {"AP", "AP50", "per_class"} <= set(lines[-1])


def test_evaluation_of_the_run_repeats_that_of_training(folder, capsys):
    run = folder / "run"
    assert cli.main(["evaluate", str(run), "--out", str(folder / "again")]) == 0
    before, after = (json.loads((path / "detections.json").read_text()) for path in (run / "eval" / "2", folder / "again"))
    assert len(after) == len(before) > 0
    for expected, found in zip(before, after):  # in other batches, so rounding may differ
        assert (found["image_id"], found["category_id"]) == (expected["image_id"], expected["category_id"])
        assert found["bbox"] == pytest.approx(expected["bbox"], abs=1e-3)
        assert found["score"] == pytest.approx(expected["score"], abs=1e-6)
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("AP ")
    assert "(3 images)" in out


def test_prediction_and_the_python_api_find_the_same(folder, capsys):
    val = folder / "shapes" / "val"
    out = folder / "drawings"
    assert cli.main(["predict", str(folder / "run"), str(val), "--out", str(out), "--score-threshold", "0.001"]) == 0
    record = json.loads((out / "detections.json").read_text())
    assert [image["drawing"] for image in record["images"]] == sorted(path.name for path in val.iterdir())
    detector = Detector.load(folder / "run", score_threshold=0.001)
    image = record["images"][0]
    assert len(image["detections"]) > 0
    assert detector.class_names == tuple(json.loads((folder / "run" / "labels.json").read_text())["class_names"])
    for expected, found in zip(image["detections"], detector(image["file"])):
        assert found.class_id == expected["class_id"]
        assert found.score == pytest.approx(expected["score"], abs=1e-5)
        assert found.box == pytest.approx(expected["box"], abs=0.1)


def test_a_model_of_other_classes_is_refused_by_its_file(folder, capsys):
    other = json.loads((folder / "shapes" / "annotations" / "val.json").read_text())
    other["categories"][0]["name"] = "hexagon"
    (folder / "other.json").write_text(json.dumps(other))
    assert cli.main(["evaluate", str(folder / "run"), f"data.val.annotations={folder / 'other.json'}"]) == 2
    assert "other.json: has other classes than the model" in capsys.readouterr().err
