"""Weight files damaged in every way: one line each, and never more memory than the file has."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.weights.files import read_tensors
from ttfnet_tf.weights.npz import NotArrays, read_npz

VALUES = np.arange(600, dtype=np.float32)


def npy(shape="(600,)", descr="'<f4'", data=None, version=(1, 0)):
    """An .npy member with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode("latin1")
    size = struct.pack("<H", len(header)) if version == (1, 0) else struct.pack("<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header + (VALUES.tobytes() if data is None else data)


def archive(*members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for number, content in enumerate(members):
            file.writestr(f"layer{number}.npy", content)
    return buffer.getvalue()


def encrypted(content):
    """The flag of encryption in both headers of the one member."""
    changed = bytearray(content)
    changed[6] |= 1
    changed[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def sound():
    buffer = io.BytesIO()
    np.savez(
        buffer,
        **{"conv1.weight": VALUES.reshape(2, 300), "scalar": np.float32(3), "empty": np.zeros([0, 4]), "turned": VALUES.reshape(2, 300).T},
    )
    return buffer.getvalue()


DAMAGED = {
    "text": b"weights",
    "nothing": b"",
    "one array": npy(),
    "encrypted": encrypted(archive(npy())),
    "absurd shape": archive(npy("(1000000000000,)")),
    "shape beyond integers": archive(npy("(10**6, 4611686018427387904, 4611686018427387904)")),
    "shape of thousands of digits": archive(npy(f"({'9' * 5000},)")),
    "negative shape": archive(npy("(-600,)")),
    "shape of texts": archive(npy("('600',)")),
    "a shape that is true": archive(npy("(True,)")),
    "absurd type": archive(npy("(2,)", "'<U1000000000'")),
    "pickled objects": archive(npy("(1,)", "'|O'", pickle.dumps([print]))),
    "header that is a program": archive(npy("__import__('os').system('true')")),
    "header nested without end": archive(npy("(" * 3000 + ")" * 3000)),
    "header of another version": archive(npy(version=(7, 0))),
    "no header": archive(b"plain text"),
    "header beyond the file": archive(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{"),
    "texts": archive(npy("(1,)", "'<U3'", "abc".encode("utf-32-le"))),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_npz_is_one_line(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.endswith("numpy.savez(path, **arrays)")
    assert "\n" not in line
    assert len(line) < 300 + len(str(path))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_no_changed_byte_is_more_than_one_line(tmp_path, suffix):
    """Cut at every tenth byte and changed at every seventh: the file is read, or refused in one line."""
    from safetensors.numpy import save

    whole = sound() if suffix == ".npz" else save({"conv1.weight": VALUES.reshape(2, 300), "scalar": np.float32([3])})
    damaged = [whole[:end] for end in range(0, len(whole), max(10, len(whole) // 60))]
    damaged += [whole[:k] + bytes([whole[k] ^ 0xFF]) + whole[k + 1 :] for k in range(0, len(whole), 7)]
    path = tmp_path / f"weights{suffix}"
    lines = []
    for content in damaged:
        path.write_bytes(content)
        try:
            read_tensors(path)
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > len(damaged) // 10
    assert [line for line in lines if "\n" in line or not line.startswith(f"{path}: ")] == []


def test_sound_arrays_come_back(tmp_path):
    (tmp_path / "weights.npz").write_bytes(sound())
    found = read_npz(tmp_path / "weights.npz")
    assert list(found) == ["conv1.weight", "scalar", "empty", "turned"]
    np.testing.assert_array_equal(found["conv1.weight"], VALUES.reshape(2, 300))
    np.testing.assert_array_equal(found["turned"], VALUES.reshape(2, 300).T)
    assert (found["scalar"].shape, float(found["scalar"]), found["empty"].shape) == ((), 3.0, (0, 4))
    np.savez_compressed(tmp_path / "small.npz", zeros=np.zeros(100_000))
    assert read_npz(tmp_path / "small.npz")["zeros"].shape == (100_000,)
    with pytest.raises(NotArrays, match=r"claims arrays of 0\.0008 GB"):
        read_npz(tmp_path / "small.npz", largest_compressed=1000)


def test_a_damaged_file_is_refused_before_tensorflow_is_started(root, tmp_path):
    (tmp_path / "weights.npz").write_bytes(DAMAGED["encrypted"])
    command = ["train", str(root / "configs/demo.yaml"), "--work-dir", str(tmp_path / "run"), f"model.pretrained={tmp_path}/weights.npz"]
    code = f"import sys; from ttfnet_tf import cli; code = cli.main({command!r}); sys.exit(code if 'tensorflow' not in sys.modules else 3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert (done.returncode, done.stderr.splitlines()[0][:20], len(done.stderr.splitlines())) == (2, f"ttfnet: {tmp_path}"[:20], 1)
    assert not (tmp_path / "run").exists()
