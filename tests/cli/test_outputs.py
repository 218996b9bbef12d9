"""No command overwrites what it has not written, nor one of its inputs; every option that names an output has a row."""

import ast
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.config import dump_config, load_config
from ttfnet_tf.outputs import marked_png, says

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = b"the only copy of something"
CHECK, STATS, SHOW = "data check train.json images --no-images", "data stats train.json", "data show train.json images --ids 7"

# (verb, option or argument) -> command, the file that it would write, what it says about a foreign one.
OUTPUTS = {
    ("data check", "--json"): (f"{CHECK} --json out/x", "out/x", "was not written by ttfnet data check; name another file, or add"),
    ("data check", "--fix"): (f"{CHECK} --fix out/x", "out/x", "exists and is not overwritten"),
    ("data convert", "out"): ("data convert train.json out --to yolo --images images", "out/x", "holds other files"),
    ("data split", "--out"): ("data split train.json images --val 0.5 --out out", "out/val.json", "was not written by ttfnet data split"),
    ("data merge", "--out"): ("data merge train.json images val.json images --out out/x", "out/x", "was not written by ttfnet data merge"),
    ("data next", "--out"): ("data next run images --out out/x.csv", "out/x.csv", "was not written by ttfnet data next; name another"),
    ("data pack", "--out"): ("data pack train.json images --out out", "out/x", "holds other files, such as x; name a new or empty folder"),
    ("data show", "--out"): (f"{SHOW} --out out", "out/7.png", "was not written by ttfnet data show; name another folder"),
    ("data stats", "--json"): (f"{STATS} --json out/x", "out/x", "was not written by ttfnet data stats; name another file, or add"),
    ("data shapes", "out"): ("data shapes out", "out/x", "holds other files"),
    ("fit", "--work-dir"): ("fit train.json --work-dir out", "out/fit.yaml", "was not written by ttfnet fit; choose another --work-dir"),
    ("tune", "--work-dir"): (
        "tune train.json --work-dir out",
        "out/best.yaml",
        "was not written by ttfnet tune; choose another --work-dir",
    ),
    ("train", "--work-dir"): ("train a.yaml --work-dir out", "out/config.yaml", "was not written by a run and would be overwritten"),
    ("evaluate", "--out"): ("evaluate run --out out", "out/detections.json", "was not written by ttfnet evaluate; name another folder"),
    ("report", "--out"): ("report run --out out/x", "out/x", "was not written by ttfnet report; name another file"),
    ("predict", "--out"): ("predict run images --out out", "out/detections.json", "was not written by predict; name another folder"),
    ("predict", "--save"): (
        "predict run images --out out --save csv",
        "out/detections.csv",
        "was not written by ttfnet predict; name another",
    ),
    ("predict", "--crops"): (
        "predict run images --out drawings --crops out",
        "out/crops.jsonl",
        "was not written by ttfnet predict; name another folder with --crops",
    ),
    ("benchmark", "--json"): (
        "benchmark train a.yaml --json out/x",
        "out/x",
        "was not written by ttfnet benchmark; name another file, or add",
    ),
    ("export", "--out"): (
        "export run --out out --name m --format tflite",
        "out/m/model_fp32.tflite",
        "was not written by ttfnet export; name another folder",
    ),
    ("export", "--triton"): (
        "export run --out models --name m --format onnx --triton out",
        "out/m/config.pbtxt",
        "was not written by ttfnet export; name another folder with --triton",
    ),
    ("serve-client", "--out"): ("serve-client m images --out out", "out/detections.json", "was not written by serve-client"),
    ("weights", "--out"): ("weights w.npz --config a.yaml --out out/x.npz", "out/x.npz", "was not written by ttfnet weights; name another"),
    ("weights", "--report"): (
        "weights w.npz --config a.yaml --out y.npz --report out/x",
        "out/x",
        "was not written by ttfnet weights; name another file",
    ),
    ("reproduce", "--out"): (
        "reproduce table2 --collect --no-plot --out out",
        "out/table2/results.md",
        "was not written by ttfnet reproduce; name another folder",
    ),
}
# An output that is an input of the same command is refused with --overwrite too.
ONTO_INPUTS = {
    "findings onto the annotations": (f"{CHECK} --json train.json", "train.json"),
    "findings onto the validation annotations": (f"{CHECK} --val val.json images --json val.json", "val.json"),
    "findings onto the configuration": (f"{CHECK} --config a.yaml --json a.yaml", "a.yaml"),
    "findings by another name of the annotations": (f"{CHECK} --json images/../train.json", "train.json"),
    "figures onto the annotations": (f"{STATS} --json train.json", "train.json"),
    "parts onto the annotations": ("data split train.json --val 0.5 --out .", "train.json"),
    "a merged file onto its parts": ("data merge train.json images val.json images --out val.json", "val.json"),
    "pages onto the images": (f"{SHOW} --out images", "images/7.png"),
    "report onto the annotations": ("report run --out train.json", "train.json"),
    "figures of time onto the configuration": ("benchmark train a.yaml --json a.yaml", "a.yaml"),
    "figures of time onto the annotations": ("benchmark detect a.yaml --json train.json", "train.json"),
    "weights onto themselves": ("weights w.npz --config a.yaml --out w.npz", "w.npz"),
    "list of tensors onto the weights": ("weights w.npz --config a.yaml --out y.npz --report w.npz", "w.npz"),
    "list of tensors onto the configuration": ("weights w.npz --config a.yaml --out y.npz --report a.yaml", "a.yaml"),
}
# Options with a file or folder that is only read, or where TensorBoard or a demo adds files and replaces none.
NOT_OUTPUTS = {
    *(("demo", "folder"), ("data show", "--tensorboard"), ("fit", "data"), ("fit", "--images"), ("tune", "data"), ("tune", "--images")),
    *(("data check", name) for name in ("annotations", "images", "--val", "--config")),
    *(("data convert", name) for name in ("source", "--images", "--split", "--classes")),
    *(("data pack", name) for name in ("annotations", "images")),
    ("data shapes", "--classes"),
    *(("data split", name) for name in ("annotations", "images")),
    *(("data merge", "sources"), ("data next", "run"), ("data next", "sources")),
    *(("data show", name) for name in ("annotations", "images", "--ids", "--epochs", "--config")),
    *(("data stats", name) for name in ("annotations", "--config")),
    *(("train", "config"), ("evaluate", "run"), ("report", "runs"), ("replay", "record"), ("benchmark", "config")),
    *(("predict", name) for name in ("run", "sources", "--class-threshold", "--classes", "--runner-option", "--count-line")),
    *(("export", name) for name in ("run", "--name")),
    *(("serve-client", name) for name in ("model", "sources", "--address", "--label", "--labels", "--verify")),
    *(("weights", name) for name in ("source", "--config", "--labels")),
    *(("reproduce", name) for name in ("table", "--cells", "--data", "--own")),
}


@pytest.fixture
def files(tmp_path, monkeypatch, write_coco):
    """The files of a user, in the current folder."""
    annotations, images = write_coco({7: (64, 64), 8: (64, 64)}, [(7, 3, [8, 8, 30, 20]), (8, 3, [9, 9, 20, 20])], {3: "cat"}, "images")
    (tmp_path / "train.json").write_bytes(annotations.read_bytes())
    (tmp_path / "val.json").write_bytes(annotations.read_bytes())
    paths = {"annotations": str(tmp_path / "train.json"), "images": str(images)}
    settings = {"data": {"train": paths, "val": paths, "image_size": [64, 64]}}
    (tmp_path / "a.yaml").write_text(json.dumps(settings))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(dump_config(load_config(tmp_path / "a.yaml", [])))
    (tmp_path / "run" / "labels.json").write_text(json.dumps({"class_names": ["cat"], "category_ids": [3]}))
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refusal(command, capsys):
    assert cli.main(shlex.split(command)) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ttfnet: ")]
    assert len(err) == 1
    return err[0]


def test_every_option_with_a_file_or_folder_has_a_row():
    found = set()
    for name, parser in cli.build_parser().commands().items():
        for action in parser._actions:
            if action.metavar and not action.type:
                found.add((name, next(iter(action.option_strings), action.dest)))
    assert found == set(OUTPUTS) | NOT_OUTPUTS
    assert not set(OUTPUTS) & NOT_OUTPUTS


@pytest.mark.parametrize("row", OUTPUTS, ids=" ".join)
def test_files_of_others_stay(files, capsys, row):
    command, target, line = OUTPUTS[row]
    (files / target).parent.mkdir(parents=True, exist_ok=True)
    (files / target).write_bytes(FOREIGN)
    before = _contents(files)
    assert line in _refusal(command, capsys)
    assert _contents(files) == before


@pytest.mark.parametrize("row", ONTO_INPUTS)
@pytest.mark.parametrize("more", ["", " --overwrite"])
def test_inputs_stay(files, capsys, row, more):
    command, target = ONTO_INPUTS[row]
    before = _contents(files)
    line = _refusal(command + more, capsys)
    assert target.rpartition("/")[2] in line
    assert "is read by this command and cannot be its output" in line
    assert _contents(files) == before


def test_a_link_to_an_input_is_the_input(files, capsys):
    (files / "link.json").symlink_to("train.json")
    assert "is read by this command" in _refusal(f"{CHECK} --json link.json", capsys)


def test_findings_and_fixed_annotations_need_two_files(files, capsys):
    for json_file in ("x.json", "x.json.changes.jsonl"):
        assert "write the same file; name two" in _refusal(f"{CHECK} --json {json_file} --fix x.json", capsys)


@pytest.mark.parametrize(
    ("command", "file", "writer"),
    [
        (f"{CHECK} --json x.json", "x.json", "ttfnet data check"),
        (f"{STATS} --json x.json", "x.json", "ttfnet data stats"),
        (f"{SHOW} --out pages", "pages/7.png", "ttfnet data show"),
    ],
)
def test_own_files_are_replaced_and_those_of_others_when_asked(files, command, file, writer):
    assert cli.main(shlex.split(command)) == 0
    assert says(files / file, writer)
    first = (files / file).read_bytes()
    assert cli.main(shlex.split(command)) == 0
    assert (files / file).read_bytes() == first
    (files / file).write_bytes(FOREIGN)
    assert cli.main(shlex.split(f"{command} --overwrite")) == 0
    assert (files / file).read_bytes() == first


def test_a_file_of_another_command_is_not_its_own(files):
    (files / "x.json").write_text('{"written_by": "ttfnet data stats", "a": 1}')
    assert says(files / "x.json", "ttfnet data stats")
    assert not says(files / "x.json", "ttfnet data check")
    assert not says(files / "x.json", "ttfnet data")
    assert not says(files / "none.json", "ttfnet data stats")


def test_a_marked_image_is_the_same_image(files):
    content = (files / "images" / "7.png").read_bytes()
    (files / "marked.png").write_bytes(marked_png("ttfnet data show", content))
    with Image.open(files / "images" / "7.png") as plain, Image.open(files / "marked.png") as marked:
        assert np.array_equal(np.asarray(plain), np.asarray(marked))
        assert marked.text == {"Software": "written by ttfnet data show\n"}


def test_an_evaluation_of_an_earlier_version_is_known(files):
    from ttfnet_tf.evaluation.evaluate_run import _check_output

    config = load_config(files / "a.yaml", [])
    (files / "out").mkdir()
    (files / "out" / "detections.json").write_text("[]")
    (files / "out" / "metrics.json").write_text('{"metrics": {}, "per_class": {}, "images": 3}')
    _check_output(files / "out", config, overwrite=False)


# Whatever is written below `ttfnet_tf/` goes through `files`, but for these, each with its reason.
WRITES_ITSELF = {
    "files.py": "the functions themselves",
    "quiet_import.py": "the null device",
    "data/shapes.py": "many images, in a folder whose README says when all are there",
    "runs/checkpoint_files.py": "TensorFlow has written the files that it moves",
    "formats/output_folder.py": "many small files, in a folder whose record says when all are there",
    "export/saved_model.py": "assets in a temporary folder",
    "inference/bulk/job.py": "a shard, whose name says host and process: workers of several machines share the folder",
    "inference/bulk/records.py": "that shard",
    "export/triton.py": "into a folder of files.py",
    "inference/predict_images.py": "encodes the drawing that files.py writes",
    "inference/drawings.py": "a list that grows by lines",
    "inference/video/writer.py": "a video and its record grow while they are written",
    "runs/lock.py": "the lock",
    "weights/files.py": "arrays into memory",
    "training/step_record.py": "in a temporary folder",
    "runs/run_folder.py": "metrics.jsonl grows by lines",
}
_FUNCTIONS = (
    "os.replace",
    "os.rename",
    "shutil.copyfile",
    "shutil.copy",
    "shutil.move",
    "cv2.imwrite",
    "np.save",
    "np.savez",
    "np.savez_compressed",
)
_METHODS = ("write_text", "write_bytes", "touch", "symlink_to", "rename")


def _writing_calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            modes = [ast.unparse(one) for one in [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]]
            opens = name == "open" and any(set(mode) & set("wax+") for mode in modes)
            if opens or name in _FUNCTIONS or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS):
                yield name


def test_files_are_written_by_one_module():
    package = ROOT / "ttfnet_tf"
    found = {}
    for path in package.rglob("*.py"):
        if calls := sorted(set(_writing_calls(ast.parse(path.read_text(encoding="utf-8"))))):
            found[path.relative_to(package).as_posix()] = calls
    assert {name: calls for name, calls in found.items() if name not in WRITES_ITSELF} == {}
