"""Matches the names of tensors in weight files, from the official code, torchvision, timm and Darknet, with those of the model.

Names are those of the official checkpoints ("backbone.layer1.0.conv1.weight"), shapes are [out, in, H, W].
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.methods.catalog import METHODS

# Tensors that no detector needs: counters that nothing reads, classifiers, and layers that the official code creates and never uses.
_NEEDLESS = re.compile(
    r"(^|\.)num_batches_tracked$"
    r"|^(backbone\.(base\.)?)?(fc|output)\.(weight|bias)$"
    r"|^(backbone\.)?(base\.)?level[34]\.project\."
    r"|^bbox_head\.shortcut_layers\.\d+\.shortcut\.(weight|bias)$"
)
# The official head creates a neck for DLA-34 too, and does not use it.
_NECK = re.compile(r"^bbox_head\.(deconv_layers|shortcut_layers)\.")
_DARKNET_BLOCKS = (1, 2, 8, 8, 4)
_DARKNET_CLASSIFIER = 1000 + 1000 * 1024  # biases and weights of the last layer of darknet53.weights


@dataclass(frozen=True)
class Mismatch:
    """A tensor whose shape in the file differs from that in the model."""

    name: str
    found: tuple[int, ...]
    needed: tuple[int, ...]

    def depends_on_classes(self) -> bool:
        """Whether it is the last layer of a head, and only the output channels differ."""
        last = "|".join(info.last_layers() for info in METHODS.values())
        return re.fullmatch(rf"(?:{last})\.(?:weight|bias)", self.name) is not None and self.found[1:] == self.needed[1:]


@dataclass(frozen=True)
class Match:
    """The match of a file with a model: every name of both is in exactly one of these."""

    pairs: dict[str, str]  # name in the model -> name in the file, with equal shapes
    missing: tuple[str, ...]  # in the model and not in the file
    unused: tuple[str, ...]  # in the file and not in the model
    ignored: tuple[str, ...]  # in the file, and needed by no detector
    mismatched: tuple[Mismatch, ...]  # in both, with different shapes


def match(found: Mapping[str, Sequence[int]], needed: Mapping[str, Sequence[int]], prefix: str = "backbone.") -> Match:
    """Matches the tensors of a file with those of a model.

    The file may hold a whole detector or only a backbone; with a backbone, only names under `prefix` can be missing.

    Args:
        found: name -> shape of the file.
        needed: name -> shape of the model.
        prefix: of the backbone's names in the model.
    """
    ours = max(_spellings(needed, prefix), key=lambda spelling: sum(spelling(name) in needed for name in found))
    has_neck = any(_NECK.match(own) for own in needed)
    names: dict[str, str] = {}
    unused, ignored = [], []
    for name in found:
        own = ours(name)
        if own in needed and own not in names:
            names[own] = name
        else:
            needless = _NEEDLESS.search(_modern(name)) or (not has_neck and _NECK.match(_modern(name)))
            (ignored if needless else unused).append(name)
    wrong = [own for own, name in names.items() if tuple(found[name]) != tuple(needed[own])]
    whole = any(not own.startswith(prefix) for own in names)
    return Match(
        pairs={own: name for own, name in names.items() if own not in wrong},
        missing=tuple(own for own in needed if own not in names and (whole or own.startswith(prefix))),
        unused=tuple(unused),
        ignored=tuple(sorted(ignored)),
        mismatched=tuple(Mismatch(own, tuple(found[names[own]]), tuple(needed[own])) for own in wrong),
    )


def num_classes_of(found: Mapping[str, Sequence[int]]) -> int | None:
    """Number of classes of a whole detector, from the channels of its heatmap; None for a backbone."""
    prefixes = {re.escape(info.head_layers["heatmap"]) for info in METHODS.values()}
    last = re.compile(rf"(?:{'|'.join(prefixes)})\.(\d+)\.weight")
    heads = {int(number[1]): name for name in found if (number := last.fullmatch(_modern(name)))}
    return int(found[heads[max(heads)]][0]) if heads else None


def darknet53_tensors(values: np.ndarray, needed: Mapping[str, Sequence[int]]) -> tuple[dict[str, np.ndarray], str]:
    """Splits the values of a Darknet file into named tensors.

    Layer by layer, the file has the shifts, scales, means and variances of the normalisation, then the kernel of the convolution.

    Args:
        values: float32, from `files.read_darknet`.
        needed: name -> shape of a backbone with the official names of DarkNet-53, such as `stem.conv.weight`.

    Returns:
        The tensors, and a note about the values after them ("" if there are none).

    Raises:
        ValueError: `needed` is not a DarkNet-53, or `values` cannot be those of one; the message says why.
    """
    layers = _darknet53_layers()
    if any(f"{layer}.conv.weight" not in needed for layer in layers):
        raise ValueError("the backbone is not DarkNet-53, the only one that Darknet files fit")
    tensors: dict[str, np.ndarray] = {}
    position = 0
    for layer in layers:
        for leaf in ("bn.bias", "bn.weight", "bn.running_mean", "bn.running_var", "conv.weight"):
            shape = tuple(needed[f"{layer}.{leaf}"])
            size = int(np.prod(shape))
            if position + size > len(values):
                raise ValueError(f"it holds {len(values)} values and ends inside {layer}.{leaf}: it is truncated, or for another network")
            tensors[f"{layer}.{leaf}"] = values[position : position + size].reshape(shape)
            position += size
        if not (tensors[f"{layer}.bn.running_var"] >= 0).all():
            raise ValueError(f"it is for another network: some values in the place of the variances of {layer} are negative")
    rest = len(values) - position
    what = "the ImageNet classifier" if rest == _DARKNET_CLASSIFIER else "layers of another network"
    return tensors, f"{rest} values after the {len(layers)} convolutions are unused: {what}" if rest else ""


def for_keras_cv(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames torchvision's ResNet-50 to that of keras-cv: layer2.0.conv1.weight -> stage2.v2_stack_1_block1_1_conv.weight."""
    return {_keras_cv_name(_modern(name)): array for name, array in tensors.items()}


def for_other_input(
    tensors: Mapping[str, np.ndarray], factor: np.ndarray, shift: np.ndarray, *, convolution: str, normalization: str
) -> dict[str, np.ndarray]:
    """Converts a network to images of another scale.

    Factors go into the kernel of the first convolution, shifts into the mean of the normalisation after it. The result is equal except at
    the border of the image, which is padded with zeros of the new scale.

    Args:
        tensors: by name; the first convolution is [out, in, H, W] without bias.
        factor, shift: [3], one for each colour: input the network was trained on = factor * new input + shift.
        convolution, normalization: names of the first two layers.
    """
    kernel = tensors[f"{convolution}.weight"].astype(np.float64)
    constant = np.einsum("oihw,i->o", kernel, np.asarray(shift, np.float64))
    changed = {
        f"{convolution}.weight": kernel * np.asarray(factor, np.float64)[:, None, None],
        f"{normalization}.running_mean": tensors[f"{normalization}.running_mean"] - constant,
    }
    return {**tensors, **{name: array.astype(np.float32) for name, array in changed.items()}}


def summary(names: Iterable[str]) -> str:
    """Counts names by module: 'backbone.layer4 (30), fc (2)'."""
    groups: dict[str, int] = {}
    for name in names:
        group = ".".join(part for part in name.split(".")[:2] if part not in ("weight", "bias"))
        groups[group] = groups.get(group, 0) + 1
    shown = [f"{group} ({count})" for group, count in groups.items()]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")


def _spellings(needed: Mapping[str, Sequence[int]], prefix: str) -> list[Callable[[str], str]]:
    """Functions from names of the file to names of the model; of equally good ones, the first is used."""
    spellings: list[Callable[[str], str]] = [_modern]
    for inner in (prefix, f"{prefix}base."):  # DLA's pretrained part is a module of its backbone
        spellings.append(functools.partial(_below, inner))
    return spellings


def _below(prefix: str, name: str) -> str:
    return prefix + _modern(name)


def _modern(name: str) -> str:
    """The name without the prefix of wrappers, as in the latest official code."""
    return name.removeprefix("module.").replace("bbox_head.upsample_layers.", "bbox_head.deconv_layers.", 1)


def _keras_cv_name(name: str) -> str:
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", name)
    if stem:
        return f"stem.conv1_{stem[1]}.{stem[2]}"
    inner = re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.(0|1))\.(\w+)", name)
    if inner is None:
        return name
    stage, block, kind, number, shortcut, leaf = inner.groups()
    if shortcut is not None:
        kind, number = ("conv", "bn")[int(shortcut)], "0"
    return f"stage{stage}.v2_stack_{int(stage) - 1}_block{int(block) + 1}_{number}_{kind}.{leaf}"


def _darknet53_layers() -> list[str]:
    layers = ["stem"]
    for stage, count in enumerate(_DARKNET_BLOCKS, start=1):
        layers.append(f"layer{stage}.0")
        layers += [f"layer{stage}.{block}.body.{half}" for block in range(1, count + 1) for half in (0, 1)]
    return layers
