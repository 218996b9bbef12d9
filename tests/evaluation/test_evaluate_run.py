"""`ttfnet evaluate` with settings of its own: another input size, images without annotations."""

import json
import shutil

import cv2
import networks
import numpy as np
import pytest
import tensorflow as tf
import yaml
from pycocotools.coco import COCO
from small_run import write_run

from ttfnet_tf import cli
from ttfnet_tf.evaluation.evaluate_run import evaluate_run
from ttfnet_tf.inference.on_replicas import predict_on_replicas


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Its input is 64 x 96."""
    with pytest.MonkeyPatch.context() as patch:
        networks.narrow(patch)
        yield write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def data(write_coco):
    """Overrides that name three images of noise."""
    annotations, images = write_coco({7: (128, 96), 8: (70, 90), 9: (64, 64)}, [(7, 3, [10, 10, 40, 40])], {3: "cat", 8: "dog", 90: "bird"})
    rng = np.random.default_rng(0)
    for file in images.iterdir():
        cv2.imwrite(str(file), rng.integers(0, 255, (*cv2.imread(str(file)).shape[:2], 3), np.uint8))
    return annotations, [f"data.val.annotations={annotations}", f"data.val.images={images}"]


@pytest.mark.slow
def test_another_image_size_builds_the_network_at_that_size(run, data, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    settings = yaml.safe_load((other / "config.yaml").read_text())
    settings["data"]["image_size"] = [96, 160]
    (other / "config.yaml").write_text(yaml.safe_dump(settings))
    expected = evaluate_run(other, data[1], out=tmp_path / "a").result.detections
    found = evaluate_run(run, [*data[1], "data.image_size=[96, 160]"], out=tmp_path / "b").result.detections
    assert len(found) > 3
    assert found == expected
    assert found != evaluate_run(run, data[1], out=tmp_path / "c").result.detections


@pytest.mark.slow
def test_gpus_share_the_images_and_find_the_same(run, data, tmp_path, monkeypatch):
    """A processor in the place of GPUs; the first batch does not fit."""
    expected = evaluate_run(run, data[1], out=tmp_path / "a").result.detections
    tried = []

    def refuses_three(strategy, *args, batch_size, **more):
        function = predict_on_replicas(strategy, *args, batch_size=batch_size, **more)

        def call(images):
            tried.append(len(images))
            if len(images) > 2:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return function(images)

        return call

    monkeypatch.setattr("ttfnet_tf.evaluation.evaluate_run._gpu_strategy", lambda: tf.distribute.MirroredStrategy(["/cpu:0"]))
    monkeypatch.setattr("ttfnet_tf.inference.on_replicas.predict_on_replicas", refuses_three)
    found = evaluate_run(run, data[1], out=tmp_path / "b").result.detections
    assert tried == [3, 2, 2, 2]
    assert found == expected


@pytest.mark.slow
def test_images_without_annotations_give_a_submission_and_no_figures(run, data, tmp_path, capfd):
    """As COCO's image_info_test-dev2017.json."""
    annotations, overrides = data
    content = json.loads(annotations.read_text())
    del content["annotations"]
    annotations.write_text(json.dumps(content))
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(run), *overrides, "--out", str(out)]) == 0
    printed = capfd.readouterr()
    assert "no figures, because there are no annotations" in printed.out
    assert "AP" not in printed.out
    submission = out / f"detections_{annotations.stem}_{run.name}_results.json"
    assert f"written: {submission}\n" in printed.out
    assert len(json.loads(submission.read_text())) > 3
    assert submission.read_bytes() == (out / "detections.json").read_bytes()
    # COCO's own reader takes it.
    truth = COCO(str(_with_annotations(annotations)))
    assert len(truth.loadRes(str(submission)).anns) == len(json.loads(submission.read_text()))
    assert cli.main(["evaluate", str(run), *overrides, "--out", str(out)]) == 0  # its own files are replaced
    (out / "metrics.json").unlink()
    (out / "detections.json").unlink()
    assert cli.main(["evaluate", str(run), *overrides, "--out", str(out)]) == 2
    assert f"{submission}: exists and was not written by ttfnet evaluate" in capfd.readouterr().err


def _with_annotations(path):
    """The file with an empty list, which pycocotools needs."""
    copy = path.with_name("copy.json")
    copy.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    return copy


@pytest.mark.slow
def test_images_without_boxes_and_with_crowds_have_no_figures(run, data, tmp_path, capfd):
    annotations, overrides = data
    content = json.loads(annotations.read_text())
    for one in content["annotations"]:
        one["iscrowd"] = 1
    annotations.write_text(json.dumps(content))
    assert cli.main(["evaluate", str(run), *overrides, "--out", str(tmp_path / "out")]) == 0
    assert "no figures, because these images have no boxes" in capfd.readouterr().out
    assert not list((tmp_path / "out").glob("*_results.json"))


@pytest.mark.slow
def test_annotations_that_lack_a_class_are_named(run, data, tmp_path, capfd):
    annotations, overrides = data
    content = json.loads(annotations.read_text())
    content["categories"] = [one for one in content["categories"] if one["id"] != 90]
    annotations.write_text(json.dumps(content))
    assert cli.main(["evaluate", str(run), *overrides, "--out", str(tmp_path / "out")]) == 2
    line = f"ttfnet: {annotations}: lacks classes of the model: 'bird' (id 90); add them to 'categories', they need no boxes\n"
    assert capfd.readouterr().err.endswith(line)


@pytest.mark.slow
def test_the_figures_of_another_size_do_not_replace_those_of_training(run, data):
    assert evaluate_run(run, data[1]).file == run / "eval" / "7" / "detections.json"
    assert evaluate_run(run, [*data[1], "data.image_size=[96, 160]"]).file == run / "eval" / "7-96x160" / "detections.json"
