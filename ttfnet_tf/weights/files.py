"""Weight files: `.npz`, `.safetensors`, PyTorch's `.pth` and Darknet's `.weights`.

No file is trusted: nothing is unpickled, and `.pth` files are only ever read by `torch.load(weights_only=True)`. PyTorch is imported for
`.pth` files alone.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file, write_bytes
from ttfnet_tf.outputs import written_by
from ttfnet_tf.weights.npz import NotArrays, read_npz

WRITER = "ttfnet weights"
WRITABLE = (".npz", ".safetensors", ".pth")
_TORCH = (".pth", ".pt", ".tar")
# The first release whose weights_only is safe (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)
# The types of the format that NumPy has. BF16 comes as the upper half of a float32.
_SAFETENSORS_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}


@dataclass(frozen=True, eq=False)
class DarknetFile:
    """The content of a Darknet file: values without names, in the order of the network's layers."""

    version: tuple[int, int, int]  # major, minor, revision
    seen: int  # images that the network was trained on
    values: np.ndarray  # float32, everything after the header


def is_darknet(path: str | Path) -> bool:
    """Whether the file name is Darknet's: `x.weights`, or `x.conv.74` for the first 74 layers."""
    return re.search(r"\.(weights|conv\.\d+)$", Path(path).name.lower()) is not None


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads an `.npz`, `.safetensors` or `.pth` file; the suffix decides which.

    Returns:
        Name -> array. Of a `.pth` file: the entries of its `state_dict`, or of the file itself if it is one. bfloat16 becomes float32.

    Raises:
        UserError: the file is missing, of an unknown type or damaged, or holds more than plain tensors.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".safetensors", *_TORCH):
        raise UserError(
            f"{path}: has an unknown file type; use an .npz, .safetensors, .pth, .weights or .conv.74 file, or timm/<model> to download one"
        )
    try:
        open(path, "rb").close()  # a missing file is said before PyTorch is
        return {".npz": _read_npz, ".safetensors": _read_safetensors}.get(suffix, _read_torch)(path)
    except OSError as error:
        raise _cannot_read(path, error) from None


def refuse_damaged(source: str | Path) -> None:
    """Reads a file that needs neither TensorFlow nor PyTorch, so that what is wrong with it is said in the first second.

    Raises:
        UserError: as `read_tensors`. Nothing is raised about other sources.
    """
    if Path(source).suffix.lower() in (".npz", ".safetensors") and Path(source).is_file():
        read_tensors(source)


def read_darknet(path: str | Path) -> DarknetFile:
    """Reads a `.weights` or `.conv.N` file. Its count of images has 64 bits from version 0.2 on, 32 before.

    Raises:
        UserError: the file is missing, or its header or length is not Darknet's.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _cannot_read(path, error) from None
    version = np.frombuffer(content[:12], "<i4") if len(content) >= 16 else np.array([-1])
    if not ((version >= 0) & (version < 1000)).all():
        raise UserError(f"{path}: is not a Darknet file (no version in its header); download it again")
    major, minor, revision = (int(part) for part in version)
    start = 20 if 10 * major + minor >= 2 else 16
    if len(content) < start or (len(content) - start) % 4:
        raise UserError(f"{path}: is truncated (it ends inside a number); download it again")
    seen = int.from_bytes(content[12:start], "little")
    return DarknetFile((major, minor, revision), seen, np.frombuffer(content, "<f4", offset=start))


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], *, class_names: Sequence[str] = ()) -> None:
    """Writes a weight file, completely or not at all, and creates its folder; the suffix decides the type.

    Args:
        path: has one of the suffixes in `WRITABLE`. A `.pth` file gets the layout of the official code: `meta` and `state_dict`.
        tensors: name -> array; the order is kept where the format has one.
        class_names: for the `meta` of a `.pth` file, where the official tools look for them.

    Raises:
        UserError: the file cannot be written, or `.pth` is asked for and PyTorch is not installed.
        ValueError: another suffix, or values that are no real numbers.
    """
    path = Path(path)
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **tensors)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = written_by(WRITER).encode()
        write_bytes(path, buffer.getvalue())
    elif path.suffix == ".safetensors":
        content = {name: _contiguous(name, array) for name, array in tensors.items()}
        write_bytes(path, safetensors.numpy.save(content, metadata={"written_by": WRITER}))
    elif path.suffix == ".pth":
        torch = _import_torch(path)
        state = OrderedDict((name, torch.tensor(array)) for name, array in tensors.items())
        with new_file(path) as file:
            torch.save({"meta": {"written_by": WRITER, "CLASSES": tuple(class_names)}, "state_dict": state}, file)
    else:
        raise ValueError(f"path must have one of the suffixes {WRITABLE}, received {path}")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(path.read_bytes())
    except OSError:
        raise
    except BaseException as error:  # the file is not trusted; a panic of its library is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        reason = " ".join(str(error).removeprefix("Error while deserializing: ").split())
        raise UserError(f"{path}: is not a complete safetensors file ({reason[:200]}); download it again") from None
    arrays = {}
    for name, entry in tensors:
        if entry["dtype"] not in _SAFETENSORS_TYPES:
            raise UserError(f"{path}: {name} has the type {entry['dtype']}, which is not supported; save it as F32")
        array = np.frombuffer(entry["data"], _SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = (array.astype("<u4") << 16).view("<f4") if entry["dtype"] == "BF16" else array
    return arrays


def _contiguous(name: str, array: np.ndarray) -> np.ndarray:
    """The array for safetensors, which writes the memory as it lies and so mixes up transposed arrays."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, received {array.dtype}")
    return np.ascontiguousarray(array).reshape(array.shape)  # the former makes vectors of scalars


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_npz(path)
    except NotArrays as error:
        raise UserError(f"{path}: {error}; save one with numpy.savez(path, **arrays)") from None
    wrong = next((name for name, array in arrays.items() if array.dtype.kind not in "biufc"), None)
    if wrong is not None:
        raise UserError(
            f"{path}: {wrong} holds {arrays[wrong].dtype}, not numbers; save the weights alone with numpy.savez(path, **arrays)"
        )
    return arrays


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _import_torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors = _state_of(content)
        arrays = {name: _to_numpy(torch, value) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # the file is not trusted: whatever error PyTorch raises is the file's fault
        raise UserError(f"{path}: {_why_not(error)}") from None
    if not arrays:
        raise UserError(f"{path}: holds no named tensors; save the state_dict of the network with torch.save")
    return arrays


def _state_of(content: Any) -> Mapping[str, Any]:
    """The state_dict inside a checkpoint of a training tool."""
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                return content[key]
        return content
    return {}


def _to_numpy(torch: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("a tensor that is larger than its values")  # one number, repeated without end
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _why_not(error: Exception) -> str:
    """One line that says what is wrong with a `.pth` file."""
    text = " ".join(str(error).split())
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if wanted:
        return (
            f"is refused because loading it would run {wanted[1]}; only plain tensors are read: if you trust the file, save its state_dict "
            "alone with torch.save"
        )
    return f"is not a PyTorch file of plain tensors ({type(error).__name__}); download it again, or save the state_dict with torch.save"


def _import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(f"{path}: needs PyTorch, which is not installed; pip install 'ttfnet-tf[torch]', or use an .npz file") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _OLDEST_TORCH:
        raise UserError(f"{path}: needs PyTorch 2.6 or newer, found {torch.__version__}, which does not read such files safely")
    return torch


def _cannot_read(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror or error}); name a weight file")
