"""A table of wrong inputs: what a user types or has on disk, and the one line that is printed.

Every row runs a real command in this process. It must exit with code 2, print exactly that line (`{tmp}` stands for the folder of
the test, `{port}` for a port that is taken), and leave every file of the user as it was. The finer rows of one source of mistakes are
beside its module: settings in test_config.py, annotations in data/test_coco.py, images in data/test_images.py, arguments in
test_cli.py.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import resource
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from ttfnet_tf import build, cli
from ttfnet_tf.models.backbones import BACKBONES
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.step import SAMPLE_NAMES

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
data:
  train: {{annotations: {tmp}/train.json, images: {tmp}/images}}
  val: {{annotations: {tmp}/val.json, images: {tmp}/images}}
  image_size: [64, 64]
model:
  frozen_stages: -1
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {{width: 8, depth: 1}}
  box_head: {{width: 8, depth: 1}}
optim: {{drop_epochs: [], scale_lr: false}}
train: {{epochs: 1, batch_size: 2, evaluate_every: 0, log_every: 1}}
"""
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]


# What a row does to the folder before the command runs; each is a function of that folder.


def text(name, content):
    """A file with other content; `{tmp}` in it is the folder."""
    return lambda tmp: _replace(tmp / name, content.replace("{tmp}", str(tmp)).encode())


def coco(name, **changes):
    """An annotation file with one change: a list in place of the usual one, or keys of its first annotation."""

    def change(tmp):
        content = json.loads((tmp / name).read_text())
        for key, value in changes.items():
            if key in content:
                content[key] = value
            else:
                content["annotations"][0][key] = value
        _replace(tmp / name, json.dumps(content).encode())

    return change


def settings_of_run(**changes):
    """The config.yaml of the run, edited by hand."""

    def change(tmp):
        file = tmp / "run" / "config.yaml"
        content = yaml.safe_load(file.read_text())
        content["model"].update(changes)
        _replace(file, yaml.safe_dump(content, sort_keys=False).encode())

    return change


def cut(name, fraction):
    """The first part of a file."""
    return lambda tmp: _replace(tmp / name, (tmp / name).read_bytes()[: int((tmp / name).stat().st_size * fraction)])


def image(name, kind, fraction=1.0):
    """An image of noise, or the first part of one."""

    def make(tmp):
        pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        (tmp / "images" / name).unlink()
        Image.fromarray(pixels).save(tmp / "images" / name, kind)
        cut(f"images/{name}", fraction)(tmp)

    return make


def arrays(**content):
    """weights.npz."""
    return lambda tmp: np.savez(tmp / "weights.npz", **content)


def gone(*names):
    def remove(tmp):
        for name in names:
            (tmp / name).unlink()

    return remove


def folder(name):
    return lambda tmp: (tmp / name).mkdir()


def _replace(path, content):
    """Another file in its place: those of the run are links to one copy."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def tf_config(workers, index):
    return "TF_CONFIG=" + shlex.quote(json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}))


# Before a command: TF_CONFIG=... as in a shell; FSIZE=N lets no file grow beyond N bytes, as on a full disk; STEP=real takes the real
# training step, on a tiny network; the other rows share networks and do not train.
TRAIN = "train {tmp}/a.yaml --work-dir {tmp}/new"
RESUME = "train {tmp}/a.yaml --work-dir {tmp}/run"
EVALUATE = "evaluate {tmp}/run"
PREDICT = "predict {tmp}/run {tmp}/images --out {tmp}/out"

# name: (command, what is wrong in the folder, line)
TABLE = {
    # Settings.
    "no such config": (
        "train {tmp}/b.yaml",
        None,
        "{tmp}/b.yaml: cannot be read (No such file or directory); name a YAML file, or a recipe that ttfnet train --list prints",
    ),
    "no such recipe": (
        "train ttfnet_r18_1",
        None,
        "ttfnet_r18_1: cannot be read (No such file or directory); did you mean 'ttfnet_r18_1x'? ttfnet train --list prints the recipes",
    ),
    "bad YAML": (
        TRAIN,
        text("a.yaml", "model: [a\ntrain: 3"),
        "{tmp}/a.yaml: is not YAML (expected ',' or ']', but got ':' at line 2, column 6)",
    ),
    "no sections": (TRAIN, text("a.yaml", "- model"), "{tmp}/a.yaml: must hold sections such as 'model:', found list"),
    "unknown key": (
        TRAIN,
        text("a.yaml", "model: {backbonne: resnet34}"),
        "{tmp}/a.yaml: unknown key 'model.backbonne'; did you mean 'model.backbone'?",
    ),
    "wrong type": (
        TRAIN,
        text("a.yaml", "train: {epochs: many}"),
        "{tmp}/a.yaml: train.epochs=many must be an integer, such as 12",
    ),
    "no such choice": (
        TRAIN,
        text("a.yaml", "model: {backbone: resnet50}"),
        "{tmp}/a.yaml: model.backbone=resnet50 must be one of resnet18, resnet34, darknet53, dla34, keras_cv/resnet50, "
        "keras_cv/csp_darknet_s, keras_cv/efficientnet_v2_s, keras_cv/mobilenet_v3_small; did you mean 'keras_cv/resnet50'?",
    ),
    "image size": (
        TRAIN,
        text("a.yaml", "data: {image_size: [500, 512]}"),
        "{tmp}/a.yaml: data.image_size=[500, 512] must be [height, width], both multiples of 32, for the deepest stride is 32",
    ),
    "impossible combination": (
        TRAIN,
        text("a.yaml", "targets: {area: rectangle, beta: 1.5}"),
        "{tmp}/a.yaml: targets.beta=1.5 must be at most 1 with targets.area=rectangle, or the sub-area would leave its box",
    ),
    "drops after the end": (
        TRAIN,
        text("a.yaml", "train: {epochs: 5}"),
        "{tmp}/a.yaml: optim.drop_epochs=[9.0, 11.0] must all lie before the last of train.epochs",
    ),
    "no such base": (
        TRAIN,
        text("a.yaml", "base: b.yaml"),
        "{tmp}/b.yaml (base of {tmp}/a.yaml): cannot be read (No such file or directory); "
        "name a YAML file, or a recipe that ttfnet train --list prints",
    ),
    "base in a circle": (TRAIN, text("a.yaml", "base: a.yaml"), "{tmp}/a.yaml: base files form a circle at {tmp}/a.yaml"),
    # Overrides.
    "override without value": (f"{TRAIN} optim.lr", None, "override 'optim.lr' must have the form key=value, e.g. optim.lr=0.01"),
    "override of an unknown key": (f"{TRAIN} lr=1", None, "override 'lr=1': unknown key 'lr'; did you mean 'optim.lr'?"),
    "override of a wrong type": (
        f"{TRAIN} optim.lr=fast",
        None,
        "override 'optim.lr=fast': optim.lr=fast must be a number, such as 0.016",
    ),
    "override that is no YAML": (
        f"{TRAIN} data.image_size=[64",
        None,
        "override 'data.image_size=[64': is not YAML (expected ',' or ']', but got '<stream end>' at line 1, column 4)",
    ),
    "override of the trained model": (
        f"{EVALUATE} model.neck=plain",
        None,
        "override 'model.neck=plain': evaluation takes data.* and decode.* keys; the rest is part of the trained model",
    ),
    # Annotations.
    "annotations not set": (
        TRAIN,
        text("a.yaml", ""),
        "data.train.annotations is not set; name it in the configuration or as data.train.annotations=PATH",
    ),
    "images not set": (
        f"{TRAIN} data.train.images='\"\"'",
        None,
        "data.train.images is not set; name it in the configuration or as data.train.images=PATH",
    ),
    "no such annotations": (
        TRAIN,
        gone("train.json"),
        "{tmp}/train.json: cannot be read (No such file or directory); name a COCO instances JSON",
    ),
    "annotations not JSON": (
        TRAIN,
        text("train.json", "<xml>"),
        "{tmp}/train.json: is not JSON (Expecting value at line 1); name a COCO instances JSON",
    ),
    "annotations not COCO": (
        TRAIN,
        text("train.json", '{"shapes": []}'),
        "{tmp}/train.json: is not a COCO instances file (it has no list 'images')",
    ),
    "no such folder of images": (
        f"{TRAIN} data.train.images={{tmp}}/none",
        None,
        "{tmp}/none: is not a folder; set data.train.images to the folder of the images of {tmp}/train.json",
    ),
    "id without image": (
        TRAIN,
        coco("train.json", image_id=12),
        "{tmp}/train.json: annotation id 1 belongs to image id 12, which is not in 'images'",
    ),
    "unknown category": (
        TRAIN,
        coco("train.json", category_id=1),
        "{tmp}/train.json: annotation id 1 has category id 1, which is not in 'categories' (known: 3, 8)",
    ),
    "annotation id twice": (TRAIN, coco("train.json", id=2), "{tmp}/train.json: annotation id 2 is given twice"),
    "category id twice": (TRAIN, coco("train.json", categories=[CATEGORIES[0]] * 2), "{tmp}/train.json: category id 3 is given twice"),
    "box of three": (
        TRAIN,
        coco("train.json", bbox=[1, 2, 3]),
        "{tmp}/train.json: annotation id 1 has bbox [1, 2, 3], which is not four finite numbers x, y, width, height",
    ),
    "box with NaN": (
        TRAIN,
        coco("train.json", bbox=[1, 2, 3, float("nan")]),
        "{tmp}/train.json: annotation id 1 has bbox [1, 2, 3, NaN], which is not four finite numbers x, y, width, height",
    ),
    "no categories": (TRAIN, coco("train.json", categories=[], annotations=[]), "{tmp}/train.json: its list 'categories' is empty"),
    "no usable image": (
        TRAIN,
        coco("train.json", annotations=[]),
        "{tmp}/train.json: 0 images, 0 boxes, 2 classes; dropped: 2 images without a usable box; no image is left to train on",
    ),
    "other validation categories": (
        f"{TRAIN} train.evaluate_every=1",
        coco("val.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        "{tmp}/val.json: its categories differ from those of {tmp}/train.json (3 and 2); both files must list the same ids and names",
    ),
    # Images.
    "training image missing": (
        TRAIN,
        gone("images/7.png"),
        "{tmp}/images/7.png (image id 7): no such file; check the images folder of {tmp}/train.json",
    ),
    "validation image missing, seen before training": (
        f"{TRAIN} train.evaluate_every=1",
        gone("images/9.png"),
        "{tmp}/images/9.png (image id 9): no such file; check the images folder of {tmp}/val.json",
    ),
    "evaluated image missing": (
        EVALUATE,
        gone("images/8.jpg"),
        "{tmp}/images/8.jpg (image id 8): no such file; check the images folder of {tmp}/val.json",
    ),
    "image empty": (
        EVALUATE,
        text("images/8.jpg", ""),
        "{tmp}/images/8.jpg (image id 8): is empty; an image was expected; fix or remove it, or set data.broken_images=skip",
    ),
    "image is text": (
        EVALUATE,
        text("images/8.jpg", "<html>not found</html>"),
        (
            "{tmp}/images/8.jpg (image id 8): is not a readable image; expected JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, TGA or AVIF; "
            "fix or remove it, or set data.broken_images=skip"
        ),
    ),
    "JPEG cut short": (
        EVALUATE,
        image("8.jpg", "JPEG", 0.6),
        ("{tmp}/images/8.jpg (image id 8): is a damaged image (cut short); fix or remove it, or set data.broken_images=skip"),
    ),
    "PNG cut short": (
        EVALUATE,
        image("9.png", "PNG", 0.6),
        ("{tmp}/images/9.png (image id 9): is a damaged image (cut short); fix or remove it, or set data.broken_images=skip"),
    ),
    # Pretrained weights.
    "no such weights": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        None,
        "{tmp}/weights.npz: cannot be read (No such file or directory); name a weight file",
    ),
    "weights are no npz": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        text("weights.npz", "weights"),
        "{tmp}/weights.npz: is not an .npz file of plain arrays; save one with numpy.savez(path, **arrays)",
    ),
    "weights of something else": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        arrays(dense=np.zeros(3)),
        "{tmp}/weights.npz: none of its 1 names is in this model, which has names such as conv1.weight; is the file for another network?",
    ),
    "weights of another shape": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        arrays(**{"conv1.weight": np.zeros([8, 1, 7, 7], np.float32)}),
        (
            "{tmp}/weights.npz: conv1.weight has the shape (8, 1, 7, 7), and this model needs (8, 3, 7, 7); is the file for "
            "another backbone?"
        ),
    ),
    # Devices and workers.
    "no such GPU": (f"{TRAIN} train.devices=[gpu:7]", None, "train.devices: there is no gpu:7 here; available: ..."),
    "batch not divisible": (
        f"{TRAIN} train.devices=[cpu:0,cpu:1] train.batch_size=3",
        None,
        "{tmp}/a.yaml: train.batch_size=3 must be a multiple of the number of train.devices",
    ),
    "no TF_CONFIG": (
        f"{TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG: 'TF_CONFIG' is not set; see docs/distributed.md",
    ),
    "broken TF_CONFIG": (
        f"TF_CONFIG=worker {TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG as JSON with cluster.worker and task.index; see docs/distributed.md",
    ),
    "TF_CONFIG without ports": (
        f"{tf_config(['a'], 0)} {TRAIN} train.strategy=multi_worker",
        None,
        'train.strategy=multi_worker needs TF_CONFIG with workers as host:port, found "a"; see docs/distributed.md',
    ),
    "worker's port in use": (
        f"{tf_config(['localhost:{port}'], 0)} {TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG: worker 0, this process, cannot listen at localhost:{port} (Address already in use); "
        "name a free port in every worker's TF_CONFIG",
    ),
    "TF_CONFIG without this worker": (
        f"{tf_config(['a:1'], 1)} {TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG: task {'type': 'worker', 'index': 1} is not one of the 1 workers",
    ),
    # Work directory.
    "work directory is a file": (TRAIN, text("new", "mine"), "{tmp}/new: cannot be written (File exists); choose another --work-dir"),
    "work directory cannot be made": (
        "train {tmp}/a.yaml --work-dir /proc/run",
        None,
        "/proc/run: cannot be written (No such file or directory); choose another --work-dir",
    ),
    "disk full at the start": (
        f"FSIZE=1024 {TRAIN}",
        None,
        "{tmp}/new/config.yaml: cannot be written (File too large); free some space, then start the same command again",
    ),
    "disk full at a checkpoint": (
        f"FSIZE=500000 {RESUME} train.epochs=2",
        None,
        (
            "{tmp}/run/checkpoints/step-2: cannot be written (File too large); earlier checkpoints are whole: free some "
            "space, then start the same command again"
        ),
    ),
    "disk full at the best checkpoint": (
        f"FSIZE=500000 {RESUME} train.epochs=2 train.evaluate_every=1",
        None,
        (
            "{tmp}/run/checkpoints/best/step-2: cannot be written (File too large); earlier checkpoints are whole: free some "
            "space, then start the same command again"
        ),
    ),
    # Going on with a run.
    "other settings": (
        f"{RESUME} optim.lr=0.5",
        None,
        (
            "{tmp}/run: holds a run with optim.lr=0.016, this one has optim.lr=0.5; resume with the same settings or choose "
            "another --work-dir"
        ),
    ),
    "another number of classes": (
        RESUME,
        coco("train.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        "{tmp}/run: holds a run with 2 classes (cat, dog), the annotations have 3 (cat, dog, fox); choose another --work-dir",
    ),
    "run of another network": (
        f"{RESUME} model.neck=plain",
        settings_of_run(neck="plain"),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: "
            "bbox_head.deconv_layers.0.0/bias is [8] and [27] in the checkpoint and [8] in the model; restore the settings "
            "that it was trained with"
        ),
    ),
    "checkpoint cut short": (
        RESUME,
        cut("run/checkpoints/step-1.data-00000-of-00001", 0.5),
        "{tmp}/run/checkpoints/step-1: is damaged (Read less bytes than requested); delete its files and use an earlier checkpoint",
    ),
    "checkpoint without its data": (
        RESUME,
        gone("run/checkpoints/step-1.data-00000-of-00001"),
        (
            "{tmp}/run/checkpoints/checkpoint: names step-1, which is not complete, and there is no other checkpoint; put its files back, "
            "or delete {tmp}/run/checkpoints to start again"
        ),
    ),
    "metrics are something else": (
        RESUME,
        text("run/metrics.jsonl", "step,loss\n"),
        "{tmp}/run/metrics.jsonl: holds a line that training has not written; fix it or move the file away",
    ),
    "loss not finite": (
        f"STEP=real {TRAIN} losses.heatmap_weight=3e38 model.neck=plain",
        None,
        (
            "{tmp}/new: the loss is inf at step 1, image ids 7, 8; replay it: ttfnet replay {tmp}/new/divergence/step-1; "
            "lower optim.lr (now 0.0032) or raise optim.warmup_steps and start with another --work-dir, or resume with "
            "train.on_divergence=skip or rollback"
        ),
    ),
    "nothing to replay": (
        "replay {tmp}/run",
        None,
        "{tmp}/run: holds no report.json; name a folder such as RUN/divergence/step-12 that training has written",
    ),
    "a broken record": (
        "replay {tmp}/run",
        text("run/report.json", "[]"),
        "{tmp}/run/report.json: is damaged; the step cannot be replayed from it",
    ),
    "a record without its batch": (
        "replay {tmp}/run",
        text("run/report.json", '{"replicas": 1, "loss_scale": 1.0, "found": {"layers": []}}'),
        "{tmp}/run/batch.npz: is missing or damaged; the step cannot be replayed without it",
    ),
    # Use of a run.
    "no such run": ("evaluate {tmp}/gone", None, "{tmp}/gone: no such run or checkpoint; name a work directory that training has written"),
    "run of nothing": (
        "evaluate {tmp}/images",
        None,
        "{tmp}/images: holds no config.yaml; name a work directory that training has written",
    ),
    "run without checkpoint": (
        EVALUATE,
        gone(*(f"run/checkpoints/{name}" for name in ("checkpoint", "step-1.index", "step-1.data-00000-of-00001"))),
        "{tmp}/run: holds no checkpoint; name a work directory that training has written",
    ),
    "no such checkpoint": (
        "evaluate {tmp}/run/checkpoints/step-5",
        None,
        "{tmp}/run/checkpoints/step-5: is neither a work directory nor a checkpoint such as runs/x/checkpoints/step-370",
    ),
    "half of a checkpoint": (
        EVALUATE,
        cut("run/checkpoints/step-1.data-00000-of-00001", 0.5),
        "{tmp}/run/checkpoints/step-1: is damaged (Read less bytes than requested); delete its files and use an earlier checkpoint",
    ),
    "index cut short": (
        EVALUATE,
        cut("run/checkpoints/step-1.index", 0.5),
        "{tmp}/run/checkpoints/step-1: is damaged (not an sstable (bad magic number)); delete its files and use an earlier checkpoint",
    ),
    "best.json broken": (
        EVALUATE,
        text("run/checkpoints/best.json", "{"),
        "{tmp}/run/checkpoints/best.json: is damaged; delete it to use the latest checkpoint instead",
    ),
    "labels missing": (
        EVALUATE,
        gone("run/labels.json"),
        "{tmp}/run/labels.json: is missing or broken; name a work directory that training has written",
    ),
    "config of another neck": (
        EVALUATE,
        settings_of_run(neck="plain"),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: "
            "bbox_head.deconv_layers.0.0/bias is [8] and [27] in the checkpoint and [8] in the model; restore the settings "
            "that it was trained with"
        ),
    ),
    "config of another head": (
        PREDICT,
        settings_of_run(heatmap_head={"width": 8, "depth": 2}),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: bbox_head.hm.1.conv/bias "
            "is missing in the checkpoint and [8] in the model; restore the settings that it was trained with"
        ),
    ),
    "config of another backbone": (
        EVALUATE,
        settings_of_run(backbone="resnet34"),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: backbone.layer1.2.bn1/beta "
            "is missing in the checkpoint and [8] in the model; restore the settings that it was trained with"
        ),
    ),
    "labels of another model": (
        PREDICT,
        text("run/labels.json", '{"class_names": ["a", "b", "c"], "category_ids": [1, 2, 3]}'),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: bbox_head.hm.1/bias is [2] "
            "in the checkpoint and [3] in the model; restore the settings that it was trained with"
        ),
    ),
    "evaluation on other classes": (
        EVALUATE,
        coco("val.json", categories=[{"id": 3, "name": "cow"}, CATEGORIES[1]]),
        "{tmp}/val.json: has other classes than the model: category id 3 is 'cow' there and 'cat' in the model",
    ),
    "evaluation on more classes": (
        EVALUATE,
        coco("val.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        "{tmp}/val.json: has 3 classes, but the model was trained on 2",
    ),
    "batch of nothing": (f"{EVALUATE} --batch-size 0", None, "--batch-size 0 must be 1 or more"),
    # Prediction.
    "no images in the folder": (
        "predict {tmp}/run {tmp}/empty --out {tmp}/out",
        folder("empty"),
        (
            "{tmp}/empty: no image in this folder (sub-folders: name '{tmp}/empty/**/*'); name an image, a folder of "
            "images or a quoted pattern"
        ),
    ),
    "no such image": (
        "predict {tmp}/run {tmp}/a.jpg {tmp}/b.jpg --out {tmp}/out",
        None,
        "{tmp}/a.jpg: no such file, and nothing in 1 more; name an image, a folder of images or a quoted pattern",
    ),
    "wrong threshold": (f"{PREDICT} --score-threshold 1.5", None, "--score-threshold 1.5 must lie in 0..1, 1 excluded"),
    "output is a file": (PREDICT, text("out", "mine"), "{tmp}/out: cannot be made (File exists); name another folder with --out"),
    "output of something else": (
        "predict {tmp}/run {tmp}/images --out {tmp}",
        text("detections.json", "[]"),
        "{tmp}/detections.json: exists and was not written by predict; name another folder with --out",
    ),
}


# What the rows run on.


def make_folder(tmp):
    """Settings, annotations and images that are right."""
    (tmp / "a.yaml").write_text(SETTINGS.format(tmp=tmp))
    (tmp / "images").mkdir()
    for number, name in enumerate(("7.png", "8.jpg", "9.png")):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp / "images" / name)
    for file, names in (("train.json", ("7.png", "8.jpg")), ("val.json", ("8.jpg", "9.png"))):
        ids = [int(name[0]) for name in names]
        content = {
            "images": [{"id": i, "file_name": name, "width": 64, "height": 64} for i, name in zip(ids, names)],
            "annotations": [{"id": k, "image_id": i, "category_id": 3, "bbox": [8, 8, 30, 20]} for k, i in enumerate(ids, start=1)],
            "categories": CATEGORIES,
        }
        (tmp / file).write_text(json.dumps(content))


def step_that_does_nothing(*_, **__):
    """In place of `build_train_function`: compiling the real one is what would take the time of a row."""

    def run(iterator, learning_rates, first_step):
        names = ("loss", "heatmap_loss", "box_loss", "gradient_norm", *SAMPLE_NAMES, "data_seconds")
        told = {name: tf.ones_like(learning_rates) for name in names}
        return {**told, "proceed": learning_rates >= 0, "idle_sides": tf.zeros_like(learning_rates)}

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared_networks):
    """A folder with a run/ of one step in it, by the real command but for the step."""
    tmp = tmp_path_factory.mktemp("trained")
    make_folder(tmp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "model_of", shared_networks)
        patch.setattr(training_build, "build_train_function", step_that_does_nothing)
        assert cli.main(shlex.split(RESUME.format(tmp=tmp))) == 0
    return tmp


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """Networks of width 8, with all their layers: lines name some of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_model", functools.partial(build.build_model, width=8))
        yield


@pytest.fixture(scope="module")
def shared_networks(narrow):
    """`build.model_of` that builds each network once: rows only fill or refuse it."""
    networks = {}
    real = build.model_of

    def model_of(config, num_classes, *, precision="float32"):
        key = repr((dataclasses.replace(config.model, pretrained=None), num_classes, precision, tf.distribute.has_strategy()))
        if key not in networks:
            networks[key] = real(config, num_classes, precision=precision)
        return networks[key]

    return model_of


@pytest.fixture(scope="module")
def used_port():
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        yield str(server.getsockname()[1])


@pytest.fixture
def tmp(trained, tmp_path):
    make_folder(tmp_path)
    shutil.copytree(trained / "run", tmp_path / "run", copy_function=os.link)
    for name in ("config.yaml", "metrics.jsonl"):
        _replace(tmp_path / "run" / name, (trained / "run" / name).read_bytes().replace(str(trained).encode(), str(tmp_path).encode()))
    return tmp_path


def contents(tmp, given):
    """Every file but the note of the latest start, and what a run that went on until the disk was full has added to.

    The one large file of a checkpoint is compared by its inode, size and time.
    """
    free = ["run/environment.json", *(["run/config.yaml", "run/metrics.jsonl"] if "FSIZE" in given else [])]
    files = {str(path.relative_to(tmp)): path for path in sorted(tmp.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() if path.stat().st_size < 1e6 else stamp(path) for name, path in files.items() if name not in free}


def stamp(path):
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def readable(printed, tmp):
    """Without what differs from machine to machine."""
    printed = re.sub(r" \(\d+ bytes not processed\)", "", printed.replace(str(tmp), "{tmp}"))
    return re.sub(r"available: .*", "available: ...", printed)


@contextlib.contextmanager
def largest_file(size):
    """Writing beyond `size` bytes fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("command", "change", "line"), TABLE.values(), ids=TABLE)
def test_the_line_of(tmp, shared_networks, used_port, monkeypatch, capfd, command, change, line):
    words = shlex.split(command.replace("{tmp}", str(tmp)).replace("{port}", used_port))
    given = {}
    while "=" in words[0]:
        name, _, given[name] = words.pop(0).partition("=")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if "TF_CONFIG" in given:
        monkeypatch.setenv("TF_CONFIG", given["TF_CONFIG"])
    if "STEP" in given:
        monkeypatch.setitem(BACKBONES, "resnet18", networks.tiny_row())
    else:
        monkeypatch.setattr(build, "model_of", shared_networks)
        monkeypatch.setattr(training_build, "build_train_function", step_that_does_nothing)
    if change is not None:
        change(tmp)
    before = contents(tmp, given)
    with largest_file(int(given["FSIZE"])) if "FSIZE" in given else contextlib.nullcontext():
        code = cli.main(words)
    found = [one for one in readable(capfd.readouterr().err, tmp).splitlines() if not one.startswith("train ")]
    assert found == [f"ttfnet: {line.replace('{port}', used_port)}"]  # and nothing of TensorFlow's around it
    assert code == 2
    after = contents(tmp, given)
    assert {name: after.get(name) for name in before} == before
    assert [name for name in after if name.startswith("run/checkpoints/") and name not in before] == []


def test_a_run_goes_on_when_the_disk_has_space_again(tmp, shared_networks, monkeypatch, capfd):
    monkeypatch.setattr(build, "model_of", shared_networks)
    monkeypatch.setattr(training_build, "build_train_function", step_that_does_nothing)
    command = shlex.split(RESUME.format(tmp=tmp)) + ["train.epochs=2"]
    with largest_file(500_000):
        assert cli.main(command) == 2
    assert cli.main(command) == 0
    assert "resumes at step 1 of 2" in capfd.readouterr().out
    assert [json.loads(line)["step"] for line in (tmp / "run" / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_tensorflow_says_nothing_around_the_line(tmp):
    """In a process and an environment of its own: its notes come while it is imported and started, and at the end it lists what it did
    not restore, hundreds of lines after ours."""
    command = [sys.executable, "-m", "ttfnet_tf", *shlex.split(EVALUATE.format(tmp=tmp))]  # of full width here, unlike the checkpoint
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "does not fit config.yaml" in done.stderr
    assert done.returncode == 2
