"""Weight files of every type are read as they were written; damaged files and files with more than tensors are refused in one line."""

import json
import os
import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.weights.files import is_darknet, read_darknet, read_tensors, write_tensors

FIXTURES = Path(__file__).parent / "fixtures"


def _arrays():
    random = np.random.default_rng(0)
    return {
        "b.weight": random.standard_normal([4, 3, 2, 1]).astype(np.float32),
        "a.bias": random.standard_normal([5]),
        "half": np.array([1.5, -2.0], np.float16),
        "count": np.array(7, np.int64),
        "empty": np.zeros([0, 3], np.float32),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "strided": np.arange(6, dtype=np.int32)[::2],
    }


def _equal(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / "new" / f"w{suffix}"
    write_tensors(path, _arrays())
    _equal(read_tensors(path), _arrays())
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no temporary file is left


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_place_that_cannot_be_written(tmp_path, suffix):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_tensors(tmp_path / "file" / f"w{suffix}", _arrays())


def test_writing_another_type(tmp_path):
    with pytest.raises(ValueError, match=r"must have one of the suffixes .*received .*w\.h5"):
        write_tensors(tmp_path / "w.h5", _arrays())
    with pytest.raises(ValueError, match="a must hold real numbers, received complex64"):
        write_tensors(tmp_path / "w.safetensors", {"a": np.zeros(2, np.complex64)})


def test_reading_another_type(tmp_path):
    with pytest.raises(UserError, match=r"w\.h5: has an unknown file type; use an \.npz"):
        read_tensors(tmp_path / "w.h5")


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors", "w.pth"])
def test_no_such_file(tmp_path, name):
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\); name a weight file"):
        read_tensors(tmp_path / name)


# safetensors. The layout is written here by hand: eight bytes with the length of the header, the header as JSON, then the values.


def _safetensors(path, header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_every_type_that_numpy_has(tmp_path):
    header = {
        "__metadata__": {"format": "pt"},
        "f64": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
        "i64": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]},
        "f32": {"dtype": "F32", "shape": [1, 2], "data_offsets": [16, 24]},
        "f16": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
        "bf16": {"dtype": "BF16", "shape": [2], "data_offsets": [28, 32]},
        "i32": {"dtype": "I32", "shape": [1], "data_offsets": [32, 36]},
        "u16": {"dtype": "U16", "shape": [1], "data_offsets": [36, 38]},
        "u8": {"dtype": "U8", "shape": [1], "data_offsets": [38, 39]},
        "bool": {"dtype": "BOOL", "shape": [1], "data_offsets": [39, 40]},
    }
    # bfloat16 is the upper half of a float32: 1 is 3f80, -2.5 is c020.
    data = struct.pack("<dqff", 0.1, -5, 1.0, -3.0) + struct.pack("<ee", 0.5, 65504.0) + struct.pack("<HH", 0x3F80, 0xC020)
    data += struct.pack("<iHB?", -6, 65535, 255, True)
    found = read_tensors(_safetensors(tmp_path / "w.safetensors", header, data))
    expected = {
        "f64": np.array([0.1]),
        "i64": np.array(-5),
        "f32": np.array([[1.0, -3.0]], np.float32),
        "f16": np.array([0.5, 65504.0], np.float16),
        "bf16": np.array([1.0, -2.5], np.float32),
        "i32": np.array([-6], np.int32),
        "u16": np.array([65535], np.uint16),
        "u8": np.array([255], np.uint8),
        "bool": np.array([True]),
    }
    _equal(found, expected)


@pytest.mark.parametrize("extra", range(8))
def test_a_written_file_has_the_layout_of_the_format(tmp_path, extra):
    name = "b" * (1 + extra)
    write_tensors(tmp_path / "w.safetensors", {name: np.array([2.0], np.float32), "a": np.array([[1, -1]], np.int64)})
    content = (tmp_path / "w.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "__metadata__": {"written_by": "ttfnet weights"},
        "a": {"dtype": "I64", "shape": [1, 2], "data_offsets": [0, 16]},
        name: {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]},
    }
    assert content[8 + length :] == struct.pack("<qqf", 1, -1, 2.0)


def _entry(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


BROKEN = {
    "length beyond the file": (_entry(), bytes(8), 10**6),
    "length beyond all files": (_entry(), bytes(8), 2**63),
    "no JSON": (b"{nonsense", bytes(8), None),
    "no text": (b"\xff\xfe\x00\x01", bytes(8), None),
    "JSON without end": (b"[" * 200_000, b"", None),
    "nested without end": (b'{"a":' * 200_000, b"", None),
    "a list": ([1, 2], bytes(8), None),
    "no entry": ({"a": 3}, bytes(8), None),
    "negative size": (_entry(shape=[-2]), bytes(8), None),
    "offsets of three": (_entry(data_offsets=[0, 4, 8]), bytes(8), None),
    "size of no number": (_entry(shape=[True]), bytes(8), None),
    "number of 5,000 digits": (json.dumps(_entry()).replace("[2]", f"[{'9' * 5000}]").encode(), bytes(8), None),
    "unknown type": (_entry(dtype="F7"), bytes(8), None),
    "too short for its shape": (_entry(shape=[3]), bytes(8), None),
    "huge shape": (_entry(shape=[2**62, 2**62]), bytes(8), None),
    "backwards": (_entry(data_offsets=[8, 0]), bytes(8), None),
    "gap": (_entry(data_offsets=[4, 12]), bytes(12), None),
    "overlap": ({**_entry(), "b": _entry()["a"]}, bytes(8), None),
    "cut short": (_entry(), bytes(7), None),
    "too long": (_entry(), bytes(9), None),
    "named twice": (b'{"a":{},"a":{}}', b"", None),
}


@pytest.mark.parametrize(("header", "data", "length"), BROKEN.values(), ids=BROKEN)
def test_broken_safetensors(tmp_path, header, data, length):
    path = _safetensors(tmp_path / "w.safetensors", header, data, length)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    line = str(caught.value)  # the reason in it is the library's
    assert re.fullmatch(rf"{re.escape(str(path))}: is not a complete safetensors file \(.+\); download it again", line)
    assert len(line) < len(str(path)) + 300


def test_empty_safetensors(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"w\.safetensors: is not a complete safetensors file \(.+\); download it again"):
        read_tensors(tmp_path / "w.safetensors")


def test_a_safetensors_type_that_numpy_lacks(tmp_path):
    path = _safetensors(tmp_path / "w.safetensors", {"a": {"dtype": "F8_E5M2", "shape": [2], "data_offsets": [0, 2]}}, bytes(2))
    with pytest.raises(UserError, match=r"w\.safetensors: a has the type F8_E5M2, which is not supported; save it as F32"):
        read_tensors(path)


# Darknet.


def _darknet(path, version, seen, values):
    """As Darknet's source writes it: three 32-bit integers, the number of images, float32 values."""
    wide = version[0] * 10 + version[1] >= 2
    path.write_bytes(struct.pack("<iii", *version) + struct.pack("<Q" if wide else "<i", seen) + np.asarray(values, "<f4").tobytes())
    return path


@pytest.mark.parametrize(("version", "seen"), [((0, 1, 0), 500), ((0, 2, 0), 2**33 + 5), ((0, 2, 5), 0), ((1, 0, 0), 7)])
def test_darknet_headers_of_both_lengths(tmp_path, version, seen):
    found = read_darknet(_darknet(tmp_path / "a.weights", version, seen, [1.5, -2.5, 3.0]))
    assert (found.version, found.seen, found.values.tolist()) == (version, seen, [1.5, -2.5, 3.0])


def test_names_of_darknet_files():
    names = ["yolov3.weights", "darknet53.conv.74", "a/B.WEIGHTS", "a.conv", "a.npz", "weights", "a.weights.npz"]
    assert [is_darknet(name) for name in names] == [True, True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no version in its header"),
        (b"<html>not found</html>", "no version in its header"),
        (struct.pack("<iiii", 0, -1, 0, 0), "no version in its header"),
        (struct.pack("<iiii", 0, 2, 0, 0), "it ends inside a number"),
        (struct.pack("<iiiQ", 0, 2, 0, 0) + b"123", "it ends inside a number"),
    ],
)
def test_broken_darknet(tmp_path, content, reason):
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.weights: .*\({reason}\); download it again"):
        read_darknet(tmp_path / "a.weights")


def test_no_such_darknet(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        read_darknet(tmp_path / "a.weights")


# PyTorch. Tests that need it are skipped without it; that nothing is unpickled without it is always tested.


class _Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


def _old_format(path, content):
    """A `.pth` as written before PyTorch 1.6: magic number, protocol, machine, content, keys of storages."""
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, content, []):
            pickle.dump(part, file, protocol=2)


def _new_format(path, content):
    """A `.pth` as written since PyTorch 1.6: an archive with the content in data.pkl."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


FORMATS = pytest.mark.parametrize("write", [_old_format, _new_format], ids=["old", "new"])


@FORMATS
@pytest.mark.parametrize("place", ["whole", "state_dict", "meta"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, write, place):
    pytest.importorskip("torch", reason="needs PyTorch")
    path, mark = tmp_path / "evil.pth", tmp_path / "executed"
    write(
        path,
        {"whole": _Trap(mark), "state_dict": {"state_dict": {"a": _Trap(mark)}}, "meta": {"meta": _Trap(mark), "state_dict": {}}}[place],
    )
    with pytest.raises(
        UserError, match=r"evil\.pth: is refused because loading it would run posix\.mkdir; only plain tensors are read"
    ) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_trap_works(tmp_path):
    """Unpickling it runs its code, so that the test above can fail."""
    pickle.loads(pickle.dumps({"a": _Trap(tmp_path / "executed")}, protocol=2))
    assert (tmp_path / "executed").exists()


@FORMATS
def test_without_pytorch_nothing_is_opened(tmp_path, monkeypatch, write):
    write(tmp_path / "evil.pth", _Trap(tmp_path / "executed"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"evil\.pth: needs PyTorch, which is not installed; pip install 'ttfnet-tf\[torch\]'"):
        read_tensors(tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"w\.pth: needs PyTorch"):
        write_tensors(tmp_path / "w.pth", {})
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("version", "is_refused"), [("1.13.1", True), ("2.5.1+cu121", True), ("2.6.0", False), ("2.10.0+cpu", False), ("3.0.0a1", False)]
)
def test_unsafe_releases_of_pytorch_are_refused(tmp_path, monkeypatch, version, is_refused):
    (tmp_path / "a.pth").write_bytes(b"")
    calls = []

    def load(*args, **keywords):
        calls.append(keywords)
        return {}

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__=version, load=load))
    with pytest.raises(UserError, match="needs PyTorch 2.6 or newer, found" if is_refused else "holds no named tensors"):
        read_tensors(tmp_path / "a.pth")
    assert calls == ([] if is_refused else [{"map_location": "cpu", "weights_only": True}])


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 a broken archive", pickle.dumps({"a": 1}), pickle.dumps([1])[:-3]])
def test_broken_pth(tmp_path, content):
    pytest.importorskip("torch", reason="needs PyTorch")
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pth: is not a PyTorch file of plain tensors") as caught:
        read_tensors(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, [1, 2]])
def test_pth_without_tensors(tmp_path, content):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth: holds no named tensors"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("is_new", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("wrap", ["bare", "mmcv", "model"])
def test_pth_of_both_formats(tmp_path, is_new, wrap):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    tensors = OrderedDict((name, torch.tensor(array)) for name, array in _arrays().items())
    tensors["bfloat"] = torch.tensor([1.0, -2.5], dtype=torch.bfloat16)
    tensors["parameter"] = torch.nn.Parameter(torch.tensor([3.0]))
    tensors["part"] = torch.arange(6.0).reshape(2, 3).t()[1]  # a view with strides
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    content = {
        "bare": tensors,
        "mmcv": {"meta": {"epoch": 24, "CLASSES": ("cat",), "time": "now"}, "state_dict": tensors, "optimizer": optimizer},
        "model": {"model": tensors, "epoch": 3},
    }[wrap]
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_new)
    expected = {
        **_arrays(),
        "bfloat": np.array([1.0, -2.5], np.float32),
        "parameter": np.array([3.0], np.float32),
        "part": np.array([1.0, 4.0], np.float32),
    }
    _equal(read_tensors(tmp_path / "a.pth"), expected)


@pytest.mark.parametrize("name", ["old_format.pth", "new_format.pth"])
def test_stored_pth(name):
    """Files that torch.save wrote: {'meta', 'state_dict', 'optimizer'} with two tensors."""
    pytest.importorskip("torch", reason="needs PyTorch")
    expected = {"bbox_head.upsample_layers.0.1.bias": np.array([0.25, -1.0], np.float32), "backbone.bn1.num_batches_tracked": np.array(7)}
    _equal(read_tensors(FIXTURES / name), expected)


def test_a_written_pth_has_the_layout_of_the_official_code(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    write_tensors(tmp_path / "a.pth", _arrays(), class_names=["cat", "dog"])
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content["meta"] == {"CLASSES": ("cat", "dog")}
    assert type(content["state_dict"]) is OrderedDict  # mmcv looks for this type
    _equal(read_tensors(tmp_path / "a.pth"), _arrays())
