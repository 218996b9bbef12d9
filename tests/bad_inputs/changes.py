"""What rows of the table do to the folder before their command runs, and the commands that many of them share."""

import json
import shlex

import numpy as np
import yaml
from PIL import Image

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]


# What a row does to the folder before the command runs; each is a function of that folder.


def text(name, content):
    """A file with other content; `{tmp}` in it is the folder."""
    return lambda tmp: replace_file(tmp / name, content.replace("{tmp}", str(tmp)).encode())


def coco(name, **changes):
    """An annotation file with one change: a list in place of the usual one, or keys of its first annotation."""

    def change(tmp):
        content = json.loads((tmp / name).read_text())
        for key, value in changes.items():
            if key in content:
                content[key] = value
            else:
                content["annotations"][0][key] = value
        replace_file(tmp / name, json.dumps(content).encode())

    return change


def settings_of_run(**changes):
    """The config.yaml of the run, edited by hand."""

    def change(tmp):
        file = tmp / "run" / "config.yaml"
        content = yaml.safe_load(file.read_text())
        content["model"].update(changes)
        replace_file(file, yaml.safe_dump(content, sort_keys=False).encode())

    return change


def cut(name, fraction):
    """The first part of a file."""
    return lambda tmp: replace_file(tmp / name, (tmp / name).read_bytes()[: int((tmp / name).stat().st_size * fraction)])


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


def replace_file(path, content):
    """Another file in its place: those of the run are links to one copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def tf_config(workers, index):
    return "TF_CONFIG=" + shlex.quote(json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}))


TRAIN = "train {tmp}/a.yaml --work-dir {tmp}/new"
RESUME = "train {tmp}/a.yaml --work-dir {tmp}/run"
EVALUATE = "evaluate {tmp}/run"
PREDICT = "predict {tmp}/run {tmp}/images --out {tmp}/out"
