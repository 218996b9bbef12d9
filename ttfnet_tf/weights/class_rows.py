"""Rows of the heads' last layers that belong to classes: they follow the names of the classes from one detector to another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ttfnet_tf.errors import UserError

_SHOWN = 6  # names of a note


def renamed_classes(pairs: Sequence[str], here: Sequence[str], there: Sequence[str]) -> dict[str, str]:
    """Name in this run -> name in the other, from `model.pretrained_classes`.

    Args:
        pairs: each "name here=name there".
        here, there: the names of the classes of both.

    Raises:
        UserError: one of them has no class of that name.
    """
    names = dict(pair.split("=", 1) for pair in pairs)
    for known, asked, whose in ((here, names, "the training annotations"), (there, names.values(), "model.pretrained")):
        for name in asked:
            if name not in known:
                raise UserError(f"model.pretrained_classes: {whose} has no class {name!r}; it has {_some(known)}")
    return names


def row_pairs(here: Sequence[str], there: Sequence[str], renamed: Mapping[str, str]) -> list[tuple[int, int]]:
    """(class here, class there), counted from 0, for every class that both have; of several with one name the first."""
    index = {name: number for number, name in reversed(list(enumerate(there)))}
    return [(number, index[renamed.get(name, name)]) for number, name in enumerate(here) if renamed.get(name, name) in index]


def with_class_rows(
    tensors: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
    heads: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    counts: tuple[int, int],
) -> dict[str, np.ndarray]:
    """The tensors of another detector, with the rows of its classes where this one has these classes.

    Args:
        tensors: of the other by official names, among them the last layers: weights [rows, in, 1, 1] and biases [rows].
        own: initial values of this one, which the rows of new classes keep.
        heads: how the names of those heads begin that have rows for each class, e.g. "bbox_head.hm".
        pairs: see `row_pairs`.
        counts: numbers of classes here and there.
    """
    last = re.compile(rf"(?:{'|'.join(map(re.escape, heads))})\.\d+\.(?:weight|bias)")
    changed = dict(tensors)
    for name in filter(last.fullmatch, own):
        theirs = tensors.get(name)
        if theirs is None or theirs.shape[1:] != own[name].shape[1:] or len(theirs) * counts[0] != len(own[name]) * counts[1]:
            continue  # `match` says what does not fit
        rows, found = own[name].reshape(counts[0], -1).copy(), theirs.reshape(counts[1], -1)
        for here, there in pairs:
            rows[here] = found[there]
        changed[name] = rows.reshape(own[name].shape)
    return changed


def note(here: Sequence[str], there: Sequence[str], pairs: Sequence[tuple[int, int]]) -> str:
    """What became of the classes, in one line."""
    kept = {number for number, _ in pairs}
    new = [name for number, name in enumerate(here) if number not in kept]
    dropped = [name for number, name in enumerate(there) if number not in {number for _, number in pairs}]
    parts = [f"{len(pairs)} of {len(here)} classes keep their rows of the heads"]
    parts += [f"{what}: {_some(names)}" for what, names in (("new", new), ("not taken", dropped)) if names]
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
