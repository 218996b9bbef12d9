"""A run on merged classes of two annotation files: resume, evaluation, report and export know the merged class."""

import json

import numpy as np
import pytest
from integration_runs import checkpoint, metrics

from ttfnet_tf import cli
from ttfnet_tf.inference.exported_model import CARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def settings(runs):
    """Two of four classes as one, 12 images and twice the 4 of a file with other category ids, in parts and with patience."""
    shapes = runs.folder / "shapes"
    content = json.loads((shapes / "annotations/val.json").read_text())
    ids = {one["id"]: one["id"] + 50 for one in content["categories"]}
    for one in content["categories"]:
        one["id"] = ids[one["id"]]
    for one in content["annotations"]:
        one["category_id"] = ids[one["category_id"]]
    other = shapes / "annotations/other_ids.json"
    other.write_text(json.dumps(content))
    names = [one["name"] for one in content["categories"]]
    files = [f"{{annotations: {shapes}/annotations/train.json, images: {shapes}/train}}"]
    files += [f"{{annotations: {other}, images: {shapes}/val, repeat: 2}}"]
    return (
        f"data.train=[{', '.join(files)}]",
        f"data.val.annotations={other}",
        f"data.classes={{thing: [{names[1]}, {names[0]}]}}",
        "model.batch_norm=local",
        "optim.accumulate=2",
        "optim.drop_epochs=[]",
        "train.patience=9",
    )


def test_a_run_that_resumes_ends_as_one_that_does_not(runs, settings, capsys):
    straight = runs.finish("straight", *settings, "train.epochs=2")
    runs.finish("resumed", *settings, "train.epochs=1")
    resumed = runs.finish("resumed", *settings, "train.epochs=2")
    assert metrics(resumed) == metrics(straight)
    first, second = checkpoint(resumed), checkpoint(straight)
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)
    log = (runs.folder / "straight.log").read_text()
    assert "train.json + other_ids.json x 2: " in log
    assert "boxes of other classes (" in log
    # The id is that of the class named first, in the first file.
    names = json.loads((runs.folder / "shapes/annotations/train.json").read_text())["categories"]
    assert json.loads((straight / "labels.json").read_text()) == {
        "class_names": ["thing"],
        "category_ids": [sorted(n["id"] for n in names)[1]],
    }


def test_evaluation_report_and_export_know_the_merged_class(runs, settings, capsys):
    run = str(runs.finish("used", *settings, "train.epochs=1"))
    logged = [line for line in metrics(runs.folder / "used") if "AP" in line][-1]
    assert list(logged["per_class"]) == ["thing"]
    assert cli.main(["evaluate", run, "decode.score_threshold=0.001"]) == 0
    table = capsys.readouterr().out
    assert "thing" in table
    assert "(4 images" in table
    assert cli.main(["report", run]) == 0
    page = (runs.folder / "used/report.html").read_text()
    assert all(text in page for text in ("train.json", "other_ids.json", "boxes of other classes"))
    assert cli.main(["export", run, "--out", str(runs.folder / "models"), "--name", "things"]) == 0
    (card,) = (runs.folder / "models").rglob(CARD)
    content = json.loads(card.read_text())
    assert [one["name"] for one in content["classes"]] == ["thing"]
    assert content["training"]["annotations"] == "train.json + other_ids.json"
