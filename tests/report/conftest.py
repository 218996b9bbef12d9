"""Evaluated images from boxes written in the test, and work directories as training writes them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

CATEGORIES = {3: "cat", 8: "dog"}  # ids with gaps, as in COCO


@pytest.fixture
def evaluated(tmp_path):
    """evaluated([("cat", [x, y, w, h]), ...], [("dog", box, score), ...]) -> [EvaluatedImage]; "crowd cat" is a crowd."""
    from ttfnet_tf.evaluation.coco_metrics import coco_evaluation
    from ttfnet_tf.report.evaluated_images import evaluated_images

    numbers = {name: number for number, name in CATEGORIES.items()}

    def make(objects, detections):
        content = {
            "images": [{"id": 7, "file_name": "7.png", "width": 100, "height": 100}],
            "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
            "annotations": [
                {
                    "id": number,
                    "image_id": 7,
                    "category_id": numbers[name.removeprefix("crowd ")],
                    "bbox": box,
                    "iscrowd": int(name.startswith("crowd ")),
                }
                for number, (name, box) in enumerate(objects, start=1)
            ],
        }
        (tmp_path / "truth.json").write_text(json.dumps(content))
        split = SimpleNamespace(
            annotations=tmp_path / "truth.json",
            images=[SimpleNamespace(id=7)],
            category_ids=list(CATEGORIES),
            class_names=["cat", "dog"],
            parts=(),
        )
        results = [{"image_id": 7, "category_id": numbers[name], "bbox": box, "score": score} for name, box, score in detections]
        return evaluated_images(coco_evaluation(split, results))

    return make


@pytest.fixture
def make_run(tmp_path):
    """make_run("name", annotations=..., ...) -> a work directory with two logged epochs and, with detections, an evaluation."""

    def make(
        name="mine", *, annotations="", images="", names=("cat", "dog"), ids=(3, 8), detections=None, command=(), lines=None, **settings
    ):
        from ttfnet_tf.data.coco import load_coco
        from ttfnet_tf.evaluation.coco_metrics import coco_metrics

        folder = tmp_path / name
        folder.mkdir()
        split = {"annotations": str(annotations), "images": str(images)}
        config = {"data": {"train": split, "val": split, "image_size": [64, 64]}, "train": {"epochs": 2, "batch_size": 8}}
        config["optim"] = {"drop_epochs": [1.0]}
        for key, value in settings.items():
            section, _, inner = key.partition("__")
            config.setdefault(section, {})[inner] = value
        (folder / "config.yaml").write_text(json.dumps(config))
        (folder / "labels.json").write_text(json.dumps({"class_names": names, "category_ids": ids}))
        environment = {"command": list(command), "commit": "abc1234", "cpus": 2, "platform": "Linux-test", "devices": ["/device:CPU:0 CPU"]}
        (folder / "environment.json").write_text(json.dumps(environment))
        if lines is None:
            lines = [
                {"step": 10, "epoch": 1.0, "loss": 4.0, "heatmap_loss": 3.0, "box_loss": 1.0, "lr": 0.1, "images_per_second": 8.0},
                {"step": 10, "epoch": 1, "AP": 0.25, "AP50": 0.5, "AP75": 0.2, "per_class": {"cat": 0.2, "dog": 0.3}},
                {"step": 20, "epoch": 2.0, "loss": 2.0, "heatmap_loss": 1.5, "box_loss": 0.5, "lr": 0.01, "images_per_second": 4.0},
                {"step": 20, "epoch": 2, "AP": 0.375, "AP50": 0.625, "AP75": 0.3, "per_class": {"cat": 0.35, "dog": 0.4}},
            ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.json").write_text('{"step": 20, "AP": 0.375}')
        if detections is not None:
            metrics, per_class = coco_metrics(load_coco(annotations, images, training=False), detections)
            evaluation = folder / "eval" / "20"
            evaluation.mkdir(parents=True)
            (evaluation / "detections.json").write_text(json.dumps(detections))
            (evaluation / "metrics.json").write_text(json.dumps({"metrics": metrics, "per_class": per_class, "images": 1}))
        return folder

    return make
