"""Files that are not trusted: JSON of every kind, weights, and the annotations of other formats."""

import io
import json
import zipfile

import numpy as np

from bad_inputs.changes import EVALUATE, RESUME, TRAIN, coco, replace_file


def raw(name, content):
    """A file of these bytes."""
    return lambda tmp: replace_file(tmp / name, content if isinstance(content, bytes) else content.encode())


def entry(file, section, **keys):
    """An annotation file with other keys in the first entry of one of its lists."""

    def change(tmp):
        content = json.loads((tmp / file).read_text())
        content[section][0].update(keys)
        replace_file(tmp / file, json.dumps(content).encode())

    return change


def archive(shape="(8, 3, 7, 7)", descr="'<f4'", data=bytes(4704), flag=0):
    """weights.npz with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("conv1.weight.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    content = bytearray(buffer.getvalue())
    content[6] |= flag
    content[content.index(b"PK\x01\x02") + 8] |= flag
    return raw("weights.npz", bytes(content))


# What is wrong with a JSON file, whatever it is for: (content, what the line says of it).
_JSON = {
    "nested without end": (b"[" * 100_000, "is nested too deep"),
    "nested deep": (b"[" * 300 + b"]" * 300, "is nested too deep"),
    "a number of 5000 digits": (b'{"images": ' + b"1" * 5000 + b"}", "has a number of thousands of digits"),
    "half a character": (b'{"images": "\\ud800"}', "has half a character (\\ud800 at line 1)"),
    "another encoding": ('{"images": "é"}'.encode("latin-1"), "is not UTF-8 text"),
    "nothing": (b"", "is not JSON (Expecting value at line 1)"),
    "cut short": (b'{"images": [{"id": 1', "is not JSON (Expecting ',' delimiter at line 1)"),
    "a NUL": (b"\0\0\0\0", "is not JSON (Expecting value at line 1)"),
}
_READERS = {"training": TRAIN, "statistics": "data stats {tmp}/train.json", "conversion": "data convert {tmp}/train.json {tmp}/new"}
_OF_ONE = "{tmp}/train.json: annotation id 1"
_NO_BOX = "which is not four finite numbers x, y, width, height"
_NAME = "{tmp}/train.json: image id 7 has a file_name that"
_LABELS = "{tmp}/run/labels.json: is missing or broken; name a work directory that training has written"
_BEST = "{tmp}/run/checkpoints/best.json: is damaged; delete it to use the latest checkpoint instead"
_METRICS = "{tmp}/run/metrics.jsonl: holds a line that training has not written; fix it or move the file away"
_NPZ = f"{TRAIN} model.pretrained={{tmp}}/weights.npz"
_SAVE = "save one with numpy.savez(path, **arrays)"
_CSV, _YOLO, _VOC = (f"data convert {{tmp}}/{name} {{tmp}}/new" for name in ("a.csv", "data.yaml", "voc"))
_HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
_FIX = "; fix it, or add --skip-broken to skip such images"


def voc(content):
    def make(tmp):
        (tmp / "voc").mkdir()
        raw("voc/7.xml", content)(tmp)

    return make


ROWS = {
    **{
        f"annotations for {reader}: {fault}": (
            command,
            raw("train.json", content),
            f"{{tmp}}/train.json: {reason}; name a COCO instances JSON",
        )
        for reader, command in _READERS.items()
        for fault, (content, reason) in _JSON.items()
    },
    "shapes of an unknown class": (
        "data shapes {tmp}/new --classes circle stars",
        None,
        "shapes: no class 'stars'; name some of circle, square, triangle, cross, star",
    ),
    "shapes of a class twice": (
        "data shapes {tmp}/new --classes star circle star",
        None,
        "shapes: class 'star' is named twice; name it once",
    ),
    # Values of annotations.
    "image id as text": (TRAIN, coco("train.json", image_id="7"), f"{_OF_ONE} belongs to image id \"7\", which is not in 'images'"),
    "category id as a decimal": (
        TRAIN,
        coco("train.json", category_id=3.0),
        f"{_OF_ONE} has category id 3.0, which is not in 'categories' (known: 3, 8)",
    ),
    "annotation id as text": (
        TRAIN,
        coco("train.json", id="1"),
        '{tmp}/train.json: annotation number 0 (from 0) has id "1", which is not an integer',
    ),
    "annotation id of 100 digits": (
        TRAIN,
        coco("train.json", id=10**99),
        f"{{tmp}}/train.json: annotation number 0 (from 0) has id 1{'0' * 56}..., which is not an integer",
    ),
    "box as text": (TRAIN, coco("train.json", bbox=["8", "8", "9", "9"]), f'{_OF_ONE} has bbox ["8", "8", "9", "9"], {_NO_BOX}'),
    "box with a flag": (TRAIN, coco("train.json", bbox=[8, 8, True, 9]), f"{_OF_ONE} has bbox [8, 8, true, 9], {_NO_BOX}"),
    "box of 400 digits": (TRAIN, coco("train.json", bbox=[10**400, 8, 9, 9]), f"{_OF_ONE} has bbox [1{'0' * 55}..., {_NO_BOX}"),
    "no box": (TRAIN, coco("train.json", bbox=None), f"{_OF_ONE} has bbox null, {_NO_BOX}"),
    "area as text": (TRAIN, coco("train.json", area="12"), f'{_OF_ONE} has area "12", which is not a finite number'),
    "infinite area": (TRAIN, coco("train.json", area=float("inf")), f"{_OF_ONE} has area Infinity, which is not a finite number"),
    "iscrowd as text": (TRAIN, coco("train.json", iscrowd="abc"), f'{_OF_ONE} has iscrowd "abc", which is neither 0 nor 1'),
    "iscrowd of 2": (EVALUATE, coco("val.json", iscrowd=2), "{tmp}/val.json: annotation id 1 has iscrowd 2, which is neither 0 nor 1"),
    "ignore as text": (TRAIN, coco("train.json", ignore="0"), f'{_OF_ONE} has ignore "0", which is neither 0 nor 1'),
    "NUL in a file name": (TRAIN, entry("train.json", "images", file_name="a\0b"), f'{_NAME} has a NUL character: "a\\u0000b"'),
    "a file name of 300 letters": (
        TRAIN,
        entry("train.json", "images", file_name="x" * 300),
        f'{_NAME} is longer than a file name can be: "{"x" * 56}...',
    ),
    "a path of 5000 letters": (
        TRAIN,
        entry("train.json", "images", file_name="x/" * 2500),
        f'{_NAME} is longer than a file name can be: "{"x/" * 28}...',
    ),
    "file name of a number": (TRAIN, entry("train.json", "images", file_name=7), "{tmp}/train.json: image id 7 has no file_name"),
    "width as text": (
        TRAIN,
        entry("train.json", "images", width="64"),
        "{tmp}/train.json: image id 7 (7.png) has no width and height in pixels",
    ),
    "height of NaN": (
        TRAIN,
        entry("train.json", "images", height=float("nan")),
        "{tmp}/train.json: image id 7 (7.png) has no width and height in pixels",
    ),
    "category id of 40 bits": (
        TRAIN,
        entry("train.json", "categories", id=2**40),
        "{tmp}/train.json: category id 1099511627776 has more than 31 bits; give it a smaller one",
    ),
    "category name of a list": (TRAIN, entry("train.json", "categories", name=["cat"]), "{tmp}/train.json: category id 3 has no name"),
    # Files of a run.
    "labels nested deep": (EVALUATE, raw("run/labels.json", b"[" * 5000), _LABELS),
    "labels of a list": (EVALUATE, raw("run/labels.json", b"[]"), _LABELS),
    "labels with text ids": (EVALUATE, raw("run/labels.json", '{"class_names": ["cat", "dog"], "category_ids": ["3", "8"]}'), _LABELS),
    "labels with infinity": (EVALUATE, raw("run/labels.json", '{"class_names": ["cat", "dog"], "category_ids": [3, 1e999]}'), _LABELS),
    "labels with an id twice": (EVALUATE, raw("run/labels.json", '{"class_names": ["cat", "dog"], "category_ids": [3, 3]}'), _LABELS),
    "labels with too few ids": (EVALUATE, raw("run/labels.json", '{"class_names": ["cat", "dog"], "category_ids": [3]}'), _LABELS),
    "labels with names of numbers": (EVALUATE, raw("run/labels.json", '{"class_names": [1, 2], "category_ids": [3, 8]}'), _LABELS),
    "best checkpoint at infinity": (EVALUATE, raw("run/checkpoints/best.json", '{"step": 1e999, "AP": 0.1}'), _BEST),
    "best checkpoint at a text": (EVALUATE, raw("run/checkpoints/best.json", '{"step": "1", "AP": 0.1}'), _BEST),
    "best checkpoint of NaN": (EVALUATE, raw("run/checkpoints/best.json", '{"step": 1, "AP": NaN}'), _BEST),
    "best checkpoint nested deep": (EVALUATE, raw("run/checkpoints/best.json", b"[" * 5000), _BEST),
    "best checkpoint of 5000 digits": (EVALUATE, raw("run/checkpoints/best.json", '{"step": ' + "1" * 5000 + "}"), _BEST),
    "metrics with a step of text": (RESUME, raw("run/metrics.jsonl", '{"step": "1", "loss": 1.0}\n'), _METRICS),
    "metrics with a loss of text": (RESUME, raw("run/metrics.jsonl", '{"step": 1, "loss": "low"}\n'), _METRICS),
    "metrics of lists": (RESUME, raw("run/metrics.jsonl", "[1]\n"), _METRICS),
    "metrics nested deep": (RESUME, raw("run/metrics.jsonl", b"[" * 5000 + b"\n"), _METRICS),
    "labels of a server nested deep": (
        "serve-client mine {tmp}/images/7.png --labels {tmp}/l.json",
        raw("l.json", b"[" * 5000),
        "{tmp}/l.json: is missing or is no labels.json; name that of a work directory or of an exported model's assets/",
    ),
    # Weights.
    "encrypted weights": (_NPZ, archive(flag=1), f"{{tmp}}/weights.npz: has an encrypted member ('conv1.weight.npy'); {_SAVE}"),
    "weights of an absurd shape": (
        _NPZ,
        archive("(99999999999999999999,)"),
        f"{{tmp}}/weights.npz: claims 'conv1.weight.npy' of shape (99999999999999999999,), for which it is too short; {_SAVE}",
    ),
    "pickled weights": (
        _NPZ,
        archive("(1,)", "'|O'", b"cos\nsystem\n(S'true'\ntR."),
        f"{{tmp}}/weights.npz: holds Python objects ('conv1.weight.npy'), which are not read; {_SAVE}",
    ),
    "weights with a damaged header": (_NPZ, archive("(1,"), f"{{tmp}}/weights.npz: is no archive of arrays, or is damaged; {_SAVE}"),
    "weights of texts": (
        _NPZ,
        lambda tmp: np.savez(tmp / "weights.npz", **{"conv1.weight": np.array(["a"])}),
        "{tmp}/weights.npz: conv1.weight holds <U1, not numbers; save the weights alone with numpy.savez(path, **arrays)",
    ),
    # Other formats.
    "infinite corner": (
        _CSV,
        raw("a.csv", f"{_HEADER}images/7.png,64,64,cat,1,1,1e999,9\n"),
        f"{{tmp}}/a.csv:2: xmax is '1e999', not a number{_FIX}",
    ),
    "corner beyond floats": (
        _CSV,
        raw("a.csv", f"{_HEADER}images/7.png,64,64,cat,-1e308,1,9,9\n"),
        f"{{tmp}}/a.csv:2: xmin is '-1e308', not a number{_FIX}",
    ),
    "table with a long name": (
        _CSV,
        raw("a.csv", f"{_HEADER}{'x' * 300},64,64,cat,1,1,9,9\n"),
        f'{{tmp}}: an image has a name that is longer than a file name can be: "{"x" * 56}...{_FIX}',
    ),
    "table in another encoding": (_CSV, raw("a.csv", "filename,é\n".encode("latin-1")), "{tmp}/a.csv:1: is not UTF-8 text"),
    "data.yaml nested deep": (_YOLO, raw("data.yaml", "[" * 3000), "{tmp}/data.yaml: is nested too deep for a data.yaml"),
    "data.yaml of megabytes": (_YOLO, raw("data.yaml", "#" * 5_000_000), "{tmp}/data.yaml: is larger than a data.yaml can be"),
    "data.yaml with a NUL": (
        _YOLO,
        raw("data.yaml", 'names: [a]\ntrain: "a\\0b"\n'),
        "{tmp}/data.yaml:2: train is a b, but there is no {tmp}/a b; fix it, or name the folder of the data set with --images",
    ),
    "XML with entities": (
        _VOC,
        voc('<!DOCTYPE a [<!ENTITY b "c">]>\n<annotation>&b;</annotation>'),
        f"{{tmp}}/voc/7.xml:1: declares the entity 'b', which no annotation needs{_FIX}",
    ),
    "XML in no encoding": (
        _VOC,
        voc('<?xml version="1.0" encoding="rot13"?><annotation/>'),
        f"{{tmp}}/voc/7.xml:1: is not readable XML (its encoding is rot13){_FIX}",
    ),
    "XML of nothing": (_VOC, voc(""), f"{{tmp}}/voc/7.xml:1: is not well-formed XML (no element found){_FIX}"),
}
