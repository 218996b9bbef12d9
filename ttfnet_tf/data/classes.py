"""Which classes of annotation files a run uses: subsets, merges, and the classes of several files matched by their names."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import short_json

OTHER_CLASSES = "boxes of other classes"  # begins the reason for which boxes outside `data.classes` are dropped
_NAMED = 5  # classes in a message

Categories = Sequence[tuple[int, str]]  # id and name


def class_groups(written: Sequence[str]) -> dict[str, list[str]]:
    """{class of the run: classes of the files that make it}, from `data.classes` such as [vehicle=car, vehicle=truck, person]."""
    groups: dict[str, list[str]] = {}
    for one in written:
        name, separator, source = one.partition("=")
        groups.setdefault(name, []).append(source if separator else name)
    return groups


def choose_classes(
    files: Sequence[tuple[Path, Categories]],
    groups: Mapping[str, Sequence[str]],
    *,
    known: Categories | None = None,
    training: bool = True,
) -> list[tuple[int, str]]:
    """The classes of a split, with their ids ascending.

    A class has the id that the first of its classes has in the first file with one of them; where another class has taken that id, the
    next one above all others.

    Args:
        files: each annotation file of the split with its categories.
        groups: of `class_groups`; empty takes all classes, each by its name.
        known: classes of the training data, for a split that is evaluated; None for training data, or if they are not known.
        training: whether every class that `groups` names must be in a file; otherwise one of each group.

    Raises:
        UserError: a class is in no file, or is unknown to the training.
    """
    there = {name for _, categories in files for _, name in categories}
    _refuse_missing(files, there, groups, training)
    takes_all = not groups
    if takes_all:
        groups = {name: [name] for _, categories in files for _, name in sorted(categories)}
    if known is not None:
        names = {name for _, name in known}
        if unknown := [name for name in groups if name not in names]:
            if not takes_all:
                raise UserError(f"data.classes: the model is not trained on {_quoted(unknown[0])}{_near(unknown[0], names)}")
            raise UserError(
                f"{files[0][0]}: has the class {_quoted(unknown[0])}, which the model is not trained on{_near(unknown[0], names)}; "
                "name the classes to use in data.classes"
            )
        return [(number, name) for number, name in known if takes_all or name in groups]
    chosen: dict[int, str] = {}
    late = []
    for name, sources in groups.items():
        number = _first_id(files, sources)
        if number in chosen:
            late.append(name)
        else:
            chosen[number] = name
    for name in late:
        chosen[max(chosen) + 1] = name
    return sorted(chosen.items())


def category_map(categories: Categories, groups: Mapping[str, Sequence[str]], chosen: Categories) -> dict[int, int]:
    """{category id of a file: id of its class in the split}, without the categories that are not used."""
    group_of = {source: name for name, sources in groups.items() for source in sources}
    ids = {name: number for number, name in chosen}
    names = {number: group_of.get(name) if groups else name for number, name in categories}
    return {number: ids[name] for number, name in names.items() if name in ids}


def other_classes(boxes: Counter[str]) -> str:
    """The reason for which boxes of unnamed classes are dropped, with the number of each class."""
    shown = ", ".join(f"{name} {count}" for name, count in boxes.most_common(_NAMED))
    return f"{OTHER_CLASSES} ({shown}{', ...' if len(boxes) > _NAMED else ''})"


def lacking_classes(files: Sequence[tuple[Path, Categories]], groups: Mapping[str, Sequence[str]], chosen: Categories) -> list[str]:
    """A line for each file of several that lacks classes which the others have: what it shows of them is learned as background."""
    lines = []
    for file, categories in files if len(files) > 1 else ():
        found = set(category_map(categories, groups, chosen).values())
        missing = [name for number, name in chosen if number not in found]
        if missing:
            lines.append(
                f"{file} does not list {_some(missing)}, so objects of {'it' if len(missing) == 1 else 'them'} there are background"
            )
    return lines


def _refuse_missing(files: Sequence[tuple[Path, Categories]], there: set[str], groups: Mapping[str, Sequence[str]], training: bool) -> None:
    where = " and ".join(str(file) for file, _ in files[:2]) + (f" and {len(files) - 2} more" if len(files) > 2 else "")
    for sources in groups.values():
        missing = [source for source in sources if source not in there]
        if missing and (training or len(missing) == len(sources)):
            raise UserError(f"data.classes: there is no class {_quoted(missing[0])} in {where}{_near(missing[0], there)}")


def _near(name: str, names: Iterable[str]) -> str:
    by_lower = {one.lower()[:100]: one for one in sorted(names)}
    close = difflib.get_close_matches(name.lower()[:100], list(by_lower), n=3)
    if close:
        return f"; did you mean {' or '.join(_quoted(by_lower[one]) for one in close)}?"
    return f"; it has {_some(sorted(by_lower.values()))}"


def _first_id(files: Sequence[tuple[Path, Categories]], sources: Sequence[str]) -> int:
    for _, categories in files:
        ids = {name: number for number, name in sorted(categories, reverse=True)}  # of equal names the smallest id
        for source in sources:
            if source in ids:
                return ids[source]
    raise ValueError(f"one of {sources} must be in a file")


def _some(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _quoted(name: str) -> str:
    return f"'{name[:60]}'" if name.isprintable() else short_json(name)
