"""Which tensor of a file belongs to which tensor of the model: names that official code, torchvision, timm and Darknet gave them.

Names are those of the official checkpoints ("backbone.layer1.0.conv1.weight"), shapes are [out, in, H, W].
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.methods.catalog import METHODS

# Entries that no detector has: counters that nothing reads, classifiers, and layers that official versions make and never use.
_NEEDLESS = re.compile(
    r"(^|\.)num_batches_tracked$"
    r"|^(backbone\.(base\.)?)?(fc|output)\.(weight|bias)$"
    r"|^(backbone\.)?(base\.)?level[34]\.project\."
    r"|^bbox_head\.shortcut_layers\.\d+\.shortcut\.(weight|bias)$"
)
# The official head makes a neck for DLA-34 too and passes it by.
_NECK = re.compile(r"^bbox_head\.(deconv_layers|shortcut_layers)\.")
_DARKNET_BLOCKS = (1, 2, 8, 8, 4)
_DARKNET_CLASSIFIER = 1000 + 1000 * 1024  # biases and weights of the last layer of darknet53.weights


@dataclass(frozen=True)
class Mismatch:
    """A name with one shape in the file and another in the model."""

    name: str
    found: tuple[int, ...]
    needed: tuple[int, ...]

    def depends_on_classes(self) -> bool:
        """Whether it is the last layer of a head and differs in its output channels alone."""
        last = "|".join(info.last_layers() for info in METHODS.values())
        return re.fullmatch(rf"(?:{last})\.(?:weight|bias)", self.name) is not None and self.found[1:] == self.needed[1:]


@dataclass(frozen=True)
class Match:
    """Every name of the model and of the file, each in one place."""

    pairs: dict[str, str]  # name in the model -> name in the file, shapes equal
    missing: tuple[str, ...]  # names in the model that the file lacks
    left_over: tuple[str, ...]  # names in the file without a counterpart
    ignored: tuple[str, ...]  # names in the file that no detector needs
    mismatched: tuple[Mismatch, ...]


def match(found: Mapping[str, Sequence[int]], needed: Mapping[str, Sequence[int]], prefix: str = "backbone.") -> Match:
    """Pairs the tensors of a file with those of a model.

    The file may hold a whole detector or a backbone alone; of a backbone, only the names under `prefix` can be missing.

    Args:
        found: name -> shape of the file.
        needed: name -> shape of the model.
        prefix: where a backbone hangs in the model.
    """
    ours = max(_spellings(needed, prefix), key=lambda spelling: sum(spelling(name) in needed for name in found))
    has_neck = any(_NECK.match(own) for own in needed)
    names: dict[str, str] = {}
    left_over, ignored = [], []
    for name in found:
        own = ours(name)
        if own in needed and own not in names:
            names[own] = name
        else:
            needless = _NEEDLESS.search(_modern(name)) or (not has_neck and _NECK.match(_modern(name)))
            (ignored if needless else left_over).append(name)
    wrong = [own for own, name in names.items() if tuple(found[name]) != tuple(needed[own])]
    whole = any(not own.startswith(prefix) for own in names)
    return Match(
        pairs={own: name for own, name in names.items() if own not in wrong},
        missing=tuple(own for own in needed if own not in names and (whole or own.startswith(prefix))),
        left_over=tuple(left_over),
        ignored=tuple(sorted(ignored)),
        mismatched=tuple(Mismatch(own, tuple(found[names[own]]), tuple(needed[own])) for own in wrong),
    )


def num_classes_of(found: Mapping[str, Sequence[int]]) -> int | None:
    """Channels of the heatmap of a whole detector; None for a backbone."""
    prefixes = {re.escape(info.head_layers["heatmap"]) for info in METHODS.values()}
    last = re.compile(rf"(?:{'|'.join(prefixes)})\.(\d+)\.weight")
    heads = {int(number[1]): name for name in found if (number := last.fullmatch(_modern(name)))}
    return int(found[heads[max(heads)]][0]) if heads else None


def darknet53_tensors(values: np.ndarray, needed: Mapping[str, Sequence[int]]) -> tuple[dict[str, np.ndarray], str]:
    """Names for the numbers of a Darknet file.

    Each convolution, in the order of the network, stores the shifts, scales, means and variances of its normalisation, then its kernel.

    Args:
        values: float32, from `files.read_darknet`.
        needed: name -> shape of a backbone with the official names of DarkNet-53, such as `stem.conv.weight`.

    Returns:
        The tensors, and a line about what follows them in the file ("" for nothing).

    Raises:
        ValueError: `needed` is no DarkNet-53, or `values` cannot belong to one; the message says why.
    """
    layers = _darknet53_layers()
    if any(f"{layer}.conv.weight" not in needed for layer in layers):
        raise ValueError("the backbone is not DarkNet-53, the only one that this kind of file can fill")
    tensors: dict[str, np.ndarray] = {}
    position = 0
    for layer in layers:
        for leaf in ("bn.bias", "bn.weight", "bn.running_mean", "bn.running_var", "conv.weight"):
            shape = tuple(needed[f"{layer}.{leaf}"])
            size = int(np.prod(shape))
            if position + size > len(values):
                raise ValueError(f"it holds {len(values)} numbers and ends inside {layer}.{leaf}: cut short, or another network")
            tensors[f"{layer}.{leaf}"] = values[position : position + size].reshape(shape)
            position += size
        if not (tensors[f"{layer}.bn.running_var"] >= 0).all():
            raise ValueError(f"it is another network: where the variances of {layer} would be, some numbers are negative")
    rest = len(values) - position
    what = "the ImageNet classifier" if rest == _DARKNET_CLASSIFIER else "layers of another network"
    return tensors, f"{rest} numbers behind the {len(layers)} convolutions left over: {what}" if rest else ""


def for_keras_cv(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Torchvision's ResNet-50 under the names of keras-cv's: layer2.0.conv1.weight -> stage2.v2_stack_1_block1_1_conv.weight."""
    return {_keras_cv_name(_modern(name)): array for name, array in tensors.items()}


def for_other_input(
    tensors: Mapping[str, np.ndarray], factor: np.ndarray, shift: np.ndarray, *, convolution: str, normalization: str
) -> dict[str, np.ndarray]:
    """The same network for images on another scale.

    Factors go into the kernel of the first convolution, shifts into the mean of the normalisation behind it. Equal but at the border of
    the image, which is padded with zeros of the new scale.

    Args:
        tensors: by name, the first convolution [out, in, H, W] without bias.
        factor, shift: for each colour: what the network was made for = factor * what it will get + shift.
        convolution, normalization: names of the two first layers.
    """
    kernel = tensors[f"{convolution}.weight"].astype(np.float64)
    constant = np.einsum("oihw,i->o", kernel, np.asarray(shift, np.float64))
    changed = {
        f"{convolution}.weight": kernel * np.asarray(factor, np.float64)[:, None, None],
        f"{normalization}.running_mean": tensors[f"{normalization}.running_mean"] - constant,
    }
    return {**tensors, **{name: array.astype(np.float32) for name, array in changed.items()}}


def summary(names: Iterable[str]) -> str:
    """Names counted by their module: 'backbone.layer4 (30), fc (2)'."""
    groups: dict[str, int] = {}
    for name in names:
        group = ".".join(part for part in name.split(".")[:2] if part not in ("weight", "bias"))
        groups[group] = groups.get(group, 0) + 1
    shown = [f"{group} ({count})" for group, count in groups.items()]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")


def _spellings(needed: Mapping[str, Sequence[int]], prefix: str) -> list[Callable[[str], str]]:
    """Ways to turn a file's name into one of the model's; the first of equally good ones is taken."""
    spellings: list[Callable[[str], str]] = [_modern]
    for inner in (prefix, f"{prefix}base."):  # DLA's pretrained part is a module of its backbone
        spellings.append(functools.partial(_below, inner))
    return spellings


def _below(prefix: str, name: str) -> str:
    return prefix + _modern(name)


def _modern(name: str) -> str:
    """Without what wrappers add, and with the names of the latest official code."""
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
