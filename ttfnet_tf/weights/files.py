"""Files of weights: `.npz`, safetensors, PyTorch's `.pth` and Darknet's binary form.

No file is trusted: arrays come without pickle, and `.pth` files go through `torch.load(weights_only=True)` and nothing else. PyTorch
is imported for those alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write
from ttfnet_tf.weights.safetensors import read_safetensors, write_safetensors

WRITABLE = (".npz", ".safetensors", ".pth")
_TORCH = (".pth", ".pt", ".tar")
# The first release whose weights_only keeps its promise (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)


@dataclass(frozen=True, eq=False)
class DarknetFile:
    """What Darknet writes: numbers without names, in the order of the network."""

    version: tuple[int, int, int]  # major, minor, revision
    seen: int  # images of the training so far
    values: np.ndarray  # float32, all that follows the header


def is_darknet(path: str | Path) -> bool:
    """Whether the name is one of Darknet's: `x.weights`, or `x.conv.74` for the first 74 layers."""
    return re.search(r"\.(weights|conv\.\d+)$", Path(path).name.lower()) is not None


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of an `.npz`, `.safetensors` or `.pth` file, told by the end of its name.

    Of a `.pth` checkpoint these are the entries of its `state_dict`, or of the whole where it is one itself.

    Raises:
        UserError: no such file, another kind of file, damaged, or one that holds more than plain tensors.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".safetensors", *_TORCH):
        raise UserError(
            f"{path}: is of no known kind; name an .npz, .safetensors, .pth, .weights or .conv.74 file, or timm/<model> to download one"
        )
    try:
        with open(path, "rb") as file:
            if suffix == ".npz":
                return _read_npz(path, file)
        return read_safetensors(path) if suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise _cannot_read(path, error) from None


def read_darknet(path: str | Path) -> DarknetFile:
    """Reads `.weights` and `.conv.N`. The count of images has 64 bits from version 0.2 on, 32 before.

    Raises:
        UserError: no such file, or its header or length is not Darknet's.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _cannot_read(path, error) from None
    version = np.frombuffer(content[:12], "<i4") if len(content) >= 16 else np.array([-1])
    if not ((version >= 0) & (version < 1000)).all():
        raise UserError(f"{path}: is not a Darknet file (its header holds no version); fetch it again")
    major, minor, revision = (int(part) for part in version)
    start = 20 if 10 * major + minor >= 2 else 16
    if len(content) < start or (len(content) - start) % 4:
        raise UserError(f"{path}: is cut short (it ends inside a number); fetch it again")
    seen = int.from_bytes(content[12:start], "little")
    return DarknetFile((major, minor, revision), seen, np.frombuffer(content, "<f4", offset=start))


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], *, class_names: Sequence[str] = ()) -> None:
    """Writes a file of the kind that its name ends in, whole or not at all; makes its folder.

    Args:
        path: ends in one of `WRITABLE`. A `.pth` is laid out as the official code saves and loads it: `meta` and `state_dict`.
        tensors: by name, kept in this order where the format has one.
        class_names: goes into the `meta` of a `.pth`, from where the official tools take the names.

    Raises:
        UserError: it cannot be written, or a `.pth` is asked for where PyTorch is not installed.
        ValueError: a name with another end.
    """
    path = Path(path)
    if path.suffix == ".npz":
        _write(path, lambda file: np.savez(file, **tensors))
    elif path.suffix == ".safetensors":
        _write(path, lambda file: write_safetensors(file, tensors))
    elif path.suffix == ".pth":
        torch = _import_torch(path)
        state = OrderedDict((name, torch.tensor(array)) for name, array in tensors.items())
        _write(path, lambda file: torch.save({"meta": {"CLASSES": tuple(class_names)}, "state_dict": state}, file))
    else:
        raise ValueError(f"path must end in one of {WRITABLE}, received {path}")


def _read_npz(path: Path, file: BinaryIO) -> dict[str, np.ndarray]:
    try:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise UserError(f"{path}: holds one array; it must be an .npz file of named arrays")
        return dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: is not an .npz file of plain arrays; save one with numpy.savez(path, **arrays)") from None


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _import_torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors = _state_of(content)
        arrays = {name: _to_numpy(torch, value) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # a file of unknown origin in the hands of another library: whatever comes out is the file's fault
        raise UserError(f"{path}: {_why_not(error)}") from None
    if not arrays:
        raise UserError(f"{path}: holds no tensors by name; save the state_dict of the network with torch.save")
    return arrays


def _state_of(content: Any) -> Mapping[str, Any]:
    """The state dictionary inside what a training tool has saved."""
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                return content[key]
        return content
    return {}


def _to_numpy(torch: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _why_not(error: Exception) -> str:
    """What is wrong with a `.pth`, in one line of ours."""
    text = " ".join(str(error).split())
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if wanted:
        return (
            f"is refused, for loading it would run {wanted[1]}; only plain tensors are read: save the state_dict alone with torch.save, "
            "where you trust the file"
        )
    return f"is not a PyTorch file of plain tensors ({type(error).__name__}); fetch it again or save the state_dict with torch.save"


def _import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(f"{path}: needs PyTorch, which is not installed; pip install 'ttfnet-tf[torch]', or name an .npz file") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _OLDEST_TORCH:
        raise UserError(f"{path}: needs PyTorch 2.6 or newer, found {torch.__version__}: older ones do not read such files safely")
    return torch


def _write(path: Path, write: Callable[[BinaryIO], None]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _cannot_read(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror or error}); name a file of weights")
