"""`ttfnet weights`: third-party weights to files and runs, runs to the official form, and one line for every mistake."""

import functools
import json

import golden_weights
import numpy as np
import pytest
from networks import built_once

from ttfnet_tf import build, cli
from ttfnet_tf.config import load_config
from ttfnet_tf.data.coco_classes import CATEGORY_IDS, CLASS_NAMES
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.models.parameters import named_buffers, named_parameters, to_official
from ttfnet_tf.runs.checkpoint import load_run
from ttfnet_tf.weights import convert as conversion
from ttfnet_tf.weights.files import read_tensors, write_tensors
from ttfnet_tf.weights.load import state_dict

SETTINGS = """
data: {image_size: [64, 64]}
model:
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {width: 8, depth: 1}
  box_head: {width: 8, depth: 1}
optim: {ema_decay: 0.9}
"""


@pytest.fixture(scope="module", autouse=True)
def networks():
    """Builds each network once, of width 8 with all its layers; conversions overwrite its weights."""
    model_of = built_once(build.model_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_model", functools.partial(build.build_model, width=8))
        patch.setattr(build, "model_of", model_of)
        yield model_of


@pytest.fixture(scope="module")
def official(tmp_path_factory, networks):
    """official(classes) -> tensors of a small detector, every name and shape as the official code would save them."""
    path = tmp_path_factory.mktemp("settings") / "a.yaml"
    path.write_text(SETTINGS)
    made = {}

    def tensors(classes):
        if classes not in made:
            model = networks(load_config(path), classes)
            variables = {**named_parameters(model), **named_buffers(model)}
            shapes = {name: to_official(name, v.numpy()).shape for name, v in variables.items()}
            made[classes] = {name: golden_weights.gen_tensor(name, shape) for name, shape in shapes.items()}
        return made[classes]

    return tensors


@pytest.fixture
def tmp(tmp_path, monkeypatch):
    """The current folder of the commands, with a.yaml."""
    (tmp_path / "a.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def convert(tmp, capsys):
    """convert("w.npz --out x") -> printed lines; the command must succeed."""

    def run(line):
        assert cli.main(["weights", *line.split()]) == 0, capsys.readouterr().err
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return run


@pytest.fixture
def fails(tmp, capsys):
    """fails("w.npz --out x") -> the one line on standard error."""

    def run(line):
        assert cli.main(["weights", *line.split()]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0].removeprefix("ttfnet: ")

    return run


def _same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.slow
def test_a_detector_becomes_a_run_and_comes_back(convert, official, tmp, write_coco, capsys):
    # Names as in an early official checkpoint, of a model wrapped for several GPUs.
    early = {f"module.{name.replace('deconv_layers', 'upsample_layers')}": array for name, array in official(80).items()}
    early["module.bbox_head.shortcut_layers.0.shortcut.weight"] = np.zeros([8, 64, 1, 1], np.float32)
    early["module.backbone.bn1.num_batches_tracked"] = np.array(9000)
    write_tensors("theirs.safetensors", early)
    lines = convert("theirs.safetensors --config a.yaml --out run --report report.txt")
    assert lines == [
        f"theirs.safetensors: {len(official(80))} tensors matched",
        "  2 ignored: module.backbone (1), module.bbox_head (1)",
        "every tensor: report.txt",
        "written: run",
    ]
    report = (tmp / "report.txt").read_text().splitlines()
    assert (report[0], len(report)) == ("# written by ttfnet weights", 1 + len(early))

    run = load_run("run")
    assert (run.step, run.labels.class_names, run.labels.category_ids) == (0, CLASS_NAMES, CATEGORY_IDS)
    assert (tmp / "run" / "environment.json").is_file()
    assert Detector.load("run").class_names == CLASS_NAMES
    annotations, images = write_coco({7: (64, 64)}, [(7, 3, [8, 8, 30, 20])], dict(zip(CATEGORY_IDS, CLASS_NAMES)))
    assert cli.main(["evaluate", "run", f"data.val.annotations={annotations}", f"data.val.images={images}"]) == 0
    assert "run, step 0, on" in capsys.readouterr().out

    lines = convert("run --to official --out ours.npz")
    assert lines == [f"ours.npz: {len(read_tensors('ours.npz'))} tensors of run under their official names"]
    counters = {name.replace("running_var", "num_batches_tracked") for name in official(80) if "running_var" in name}
    _same(read_tensors("ours.npz"), {**official(80), **dict.fromkeys(counters, np.zeros((), np.int64))})


def test_classes_come_from_the_annotations(convert, official, tmp, write_coco):
    annotations, _ = write_coco({7: (64, 64)}, [], {8: "dog", 3: "cat"})
    write_tensors("theirs.npz", official(2))
    convert(f"theirs.npz --config a.yaml --out run --labels {annotations}")
    assert json.loads((tmp / "run" / "labels.json").read_text()) == {"class_names": ["cat", "dog"], "category_ids": [3, 8]}
    _same(_official_state("run"), official(2))


def test_a_backbone_becomes_a_file_for_training(convert, official, tmp):
    backbone = {name.removeprefix("backbone."): array for name, array in official(80).items() if name.startswith("backbone.")}
    write_tensors("timm.safetensors", {**backbone, "fc.weight": np.zeros([10, 512], np.float32)})
    for out in ("ours.npz", "ours.safetensors"):
        assert convert(f"timm.safetensors --config a.yaml --out new/{out}") == [
            f"timm.safetensors: {len(backbone)} tensors matched",
            "  1 ignored: fc (1)",
            f"written: new/{out}",
        ]
        _same(read_tensors(f"new/{out}"), backbone)


def test_partial_loads_what_fits(convert, fails, official):
    arrays = {name: array for name, array in official(80).items() if name != "bbox_head.wh.1.bias"}
    write_tensors("part.npz", {**arrays, "strange": np.zeros(3, np.float32)})
    line = fails("part.npz --config a.yaml --out ours.npz")
    assert line == (
        "part.npz: tensors do not match (missing in the file: 1 (bbox_head.wh.1.bias); not in the model: 1 (strange)); change the "
        "configuration, or load what fits with --partial"
    )
    assert convert("part.npz --config a.yaml --out ours.npz --partial") == [
        f"part.npz: {len(arrays)} tensors matched",
        "  1 missing, keep their initial values: bbox_head.wh (1)",
        "  1 unused: strange (1)",
        "written: ours.npz",
    ]
    _same(read_tensors("ours.npz"), arrays)


def test_shapes_that_differ_by_the_classes_are_refused(fails, official):
    write_tensors("theirs.npz", official(2))
    assert "(shape differs: 2 (bbox_head.hm.1.weight [2, 8, 1, 1], the model has [80, 8, 1, 1]))" in fails(
        "theirs.npz --config a.yaml --out ours.npz --classes 80"
    )


def test_mistakes_are_one_line(fails, official, tmp, write_coco):
    write_tensors("two.npz", official(2))
    write_tensors("backbone.npz", {name[9:]: array for name, array in official(2).items() if name.startswith("backbone.")})
    annotations, _ = write_coco({7: (64, 64)}, [], {3: "cat"})
    (tmp / "used").mkdir()
    (tmp / "used" / "a.txt").write_text("mine")
    (tmp / "file").write_text("mine")
    table = {
        "two.npz": "the following arguments are required: --out; see ttfnet weights --help",
        "two.npz --out x.npz": "--config is missing; name the configuration of the network for two.npz, e.g. configs/ttfnet_r18_1x.yaml",
        "two.npz --config a.yaml --out x.npz model.box_head.depth=-1": "a.yaml: model.box_head.depth=-1 must be 0 or more",
        "two.npz --config a.yaml --out x.npz --classes 0": "--classes 0 must be 1 or more",
        "none.npz --config a.yaml --out x.npz": "none.npz: cannot be read (No such file or directory); name a weight file",
        "two.h5 --config a.yaml --out x.npz": (
            "two.h5: has an unknown file type; use an .npz, .safetensors, .pth, .weights or .conv.74 file, or timm/<model> to download one"
        ),
        "two.npz --config none.yaml --out x.npz": (
            "none.yaml: cannot be read (No such file or directory); name a YAML file, or a recipe that ttfnet train --list prints"
        ),
        "two.npz --config a.yaml --out x": ("two.npz: has 2 classes, not COCO's 80; name their annotations with --labels FILE.json"),
        f"two.npz --config a.yaml --out x --labels {annotations}": (
            f"{annotations}: has 1 categories, but two.npz has 2 classes; name the annotations it was trained on"
        ),
        "two.npz --config a.yaml --out used": "used: is not empty; name a new folder with --out",
        "two.npz --config a.yaml --out file": (
            "file: has an unknown file type; let --out end in .npz, .safetensors, .pth, or name a new folder"
        ),
        "two.npz --config a.yaml --out file/x.npz": "file/x.npz: cannot be written (File exists); name another folder",
        "backbone.npz --config a.yaml --out x": (
            "backbone.npz: holds only a backbone, and a work directory needs a whole detector; write an .npz file with --out"
        ),
        "x --to official --out x.npz --config a.yaml": "--config does not go with --to official, which takes all settings from the run",
        "x --to official --out x.h5": "--out x.h5 must end in .npz, .safetensors, .pth; the official code reads .pth",
        "x --to official --out x.npz": "x: is neither a work directory nor a checkpoint such as runs/x/checkpoints/step-370",
        "two.npz --config a.yaml --out x.npz --labels a.json --strange": "unknown argument --strange; see ttfnet weights --help",
    }
    for command, line in table.items():
        assert fails(command) == line, command
    assert sorted(path.name for path in tmp.iterdir()) == ["a.yaml", "backbone.npz", "data", "data.json", "file", "two.npz", "used"]


@pytest.mark.parametrize("override", ["model.backbone=keras_cv/resnet50", "model.neck=plain"])
def test_networks_that_the_official_code_lacks_are_refused(fails, override, monkeypatch):
    key, _, value = override.partition("=")

    def load(run):
        config = load_config("a.yaml", [override])
        return type("Run", (), {"config": config, "model": None, "labels": None})

    monkeypatch.setattr(conversion, "load_run", load)
    line = fails("run --to official --out x.npz")
    assert line == f"run: has {key}={value}, which the official code does not have, so its weights have no official names"


def test_a_pth_for_the_official_code(convert, official):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    tensors = {name: torch.tensor(array) for name, array in official(80).items()}
    torch.save({"meta": {"epoch": 24}, "state_dict": tensors, "optimizer": {}}, "theirs.pth", _use_new_zipfile_serialization=False)
    convert("theirs.pth --config a.yaml --out run")
    _same(_official_state("run"), official(80))
    convert("run --to official --out ours.pth")
    content = torch.load("ours.pth", weights_only=True)
    assert content["meta"]["CLASSES"] == CLASS_NAMES
    assert all(torch.equal(content["state_dict"][name], tensor) for name, tensor in tensors.items())


def _official_state(run):
    return {name: array for name, array in state_dict(load_run(run).model).items() if not name.endswith("num_batches_tracked")}
