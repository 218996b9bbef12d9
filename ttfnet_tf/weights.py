"""Pretrained weights from an `.npz` file with the names and layouts of torchvision."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf.errors import UserError
from ttfnet_tf.parameters import from_official, named_buffers, named_parameters, to_official


@dataclass(frozen=True)
class WeightsReport:
    """What `load_npz` did; `str()` of it fits on one screen."""

    path: str
    loaded: tuple[str, ...]  # official names of the tensors that now hold the file's values
    missing: tuple[str, ...]  # names under the prefix that the file lacks: they keep their initial values
    ignored: tuple[str, ...]  # entries of the file that no detector has: the classifier, counters of batches
    unexpected: tuple[str, ...]  # other entries of the file without a counterpart

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.loaded)} tensors loaded"]
        for verb, names in (("not in the file", self.missing), ("ignored", self.ignored), ("unknown", self.unexpected)):
            if names:
                lines.append(f"  {len(names)} {verb}: {_summary(names)}")
        return "\n".join(lines)


def load_npz(model: tf.keras.Model, path: str | Path, prefix: str = "backbone.") -> WeightsReport:
    """Copies the tensors of a file into the model; a file that covers a part of it is accepted.

    Args:
        model: from `build_model`.
        path: `.npz` whose entries are named and laid out as in torchvision's state dictionary, e.g. `layer1.0.conv1.weight`
            [out, in, H, W] and `bn1.running_mean`. `fc.*` and `*.num_batches_tracked` are ignored.
        prefix: where these names hang in the model.

    Returns:
        What was loaded and what was not.

    Raises:
        UserError: no such file, not an `.npz` of plain arrays, no name that fits, a tensor of another shape or with values that
            are not finite. The model is unchanged then.
    """
    arrays = _read(Path(path))
    variables = {name: v for name, v in {**named_parameters(model), **named_buffers(model)}.items() if name.startswith(prefix)}
    ignored = {name for name in arrays if name.startswith("fc.") or name.endswith("num_batches_tracked")}
    matching = {prefix + name: array for name, array in arrays.items() if name not in ignored and prefix + name in variables}
    if not matching:
        example = next(iter(variables), prefix)[len(prefix) :]
        raise UserError(
            f"{path}: none of its {len(arrays)} names is one of this backbone's, such as {example}; it must be a file of torchvision names"
        )
    for name, array in matching.items():
        _check(path, name[len(prefix) :], array, to_official(name, variables[name].numpy()).shape)
    for name, array in matching.items():
        variables[name].assign(from_official(name, array))
    return WeightsReport(
        path=str(path),
        loaded=tuple(matching),
        missing=tuple(name for name in variables if name not in matching),
        ignored=tuple(sorted(ignored)),
        unexpected=tuple(name for name in arrays if name not in ignored and prefix + name not in matching),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UserError(f"{path}: holds one array; it must be an .npz file of named arrays")
            return dict(archive)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); model.pretrained must name an .npz file") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: is not an .npz file of plain arrays; save one with numpy.savez(path, **arrays)") from None


def _check(path, name, array, expected):
    if array.shape != expected:
        raise UserError(
            f"{path}: {name} has the shape {array.shape}, this model needs {expected}; does the file belong to another backbone?"
        )
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise UserError(f"{path}: {name} ({array.dtype}) holds values that are not finite numbers; the file is damaged")


def _summary(names):
    """Names counted by their module: 'backbone.layer4 (30), fc (2)'."""
    groups = Counter(".".join(part for part in name.split(".")[:2] if part not in ("weight", "bias")) for name in names)
    shown = [f"{group} ({count})" for group, count in groups.items()]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")
