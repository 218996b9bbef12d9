"""Layouts of YOLO data sets: which images belong to which split, by a data.yaml or by folders, and where their label files are."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.data_yaml import DataYaml
from ttfnet_tf.formats.records import Problems
from ttfnet_tf.formats.source_files import actual, files_like, find_images, is_file, read_text
from ttfnet_tf.formats.split_names import USUAL, choose_splits, split_name, split_rank


def images_of_yaml(
    document: DataYaml, images: Path | None, split: str | None, problems: Problems, notes: Counter[str]
) -> dict[str, list[Path]]:
    """Images by split, as a data.yaml names them.

    Args:
        document: the data.yaml.
        images: folder in place of its `path`.
        split: the one to read; None for all.
        problems: gets a line for each image that a list names and that does not exist.
        notes: counts splits without images, such as the test split that Roboflow names and does not write; the training split and one
            that is asked for must be there.

    Raises:
        UserError: a key is missing or wrong, or a folder does not exist or is empty.
    """
    content, stated = document.content, document.content.get("path")
    if stated is not None and not isinstance(stated, str):
        raise UserError(f"{document.where('path')}: path must be the folder of the data set")
    home = document.path.parent
    # Some programs write the folder of the data set before each of them: proj-1/train/images in proj-1/data.yaml.
    bases = [images] if images is not None else [home / (stated or "."), home, *([home.parent] if home.name else [])]
    keys = {split_name(key): key for key in content if isinstance(key, str) and split_name(key) in USUAL and content[key]}
    if split in content and split not in keys.values():
        keys[split] = split
    if not keys:
        raise UserError(f"{document.path}: has none of the keys train, val and test")
    found, absent = {}, []
    for name, key in choose_splits({name: keys[name] for name in sorted(keys, key=split_rank)}, split, document.path).items():
        where = f"{document.where(key)}: {key}"
        values = _listed(content[key])
        if not all(isinstance(value, str) for value in values):
            raise UserError(f"{where} must be a folder, a text file or a list of them")
        try:
            found[name] = _images_of(values, bases, where, problems)
        except UserError as error:
            if split is not None or name == "train":
                raise
            absent.append((name, str(error)))
    if not found:
        raise UserError(absent[0][1])
    for name, _ in absent:
        notes[f"split is skipped, because its images are not there: {name} ({', '.join(map(str, _listed(content[keys[name]])))})"] += 1
    return found


def _listed(value) -> list:
    return value if isinstance(value, list) else [value]


def _images_of(values: list[str], bases: list[Path], where: str, problems: Problems) -> list[Path]:
    """The images of one split.

    Raises:
        UserError: a folder does not exist, or there is no image.
    """
    places = [_resolve(value, bases, where) for value in values]
    found = list(dict.fromkeys(path for place in places for path in _images_at(place, bases, problems)))
    if not found and not problems:
        raise UserError(f"{where} has no images in {places[0]}")
    return found


def images_of_folder(source: Path, images: Path | None, split: str | None, problems: Problems) -> dict[str, list[Path]]:
    """Images by split of a folder without a data.yaml; arguments as in `yolo_reader.read_yolo`."""
    found: dict[str, list[Path]] = {}
    for home, inner in ((images or source / "images", ""), (source, "images")):
        for child in sorted(home.iterdir()) if home.is_dir() else ():
            name = split_name(child.name.lower())
            if name in USUAL and (child / inner).is_dir() and (paths := find_images(child / inner)):
                found.setdefault(name, []).extend(paths)
    for path in () if found else files_like(source, "*.txt"):
        name = split_name(path.stem.lower())
        if name in USUAL:
            found[name] = list(dict.fromkeys(_images_at(path, [images or source], problems)))
    if found:
        return choose_splits(dict(sorted(found.items(), key=lambda pair: split_rank(pair[0]))), split, source)
    home = images or (source / "images" if (source / "images").is_dir() else source)
    paths = find_images(home)
    if not paths and not problems:
        raise UserError(f"{home}: holds no image; name their folder with --images")
    return {split or "train": paths}


def label_file(image: Path, apart: tuple[Path, Path] | None) -> Path:
    """The text file with the boxes of an image: "labels" in place of the last "images" of its path, or beside it.

    Args:
        image: the image.
        apart: (folder of all text files, folder of all images), where neither of the usual places applies.
    """
    name = f"{image.stem}.txt"
    if apart is not None:
        inside = apart[0] / image.relative_to(apart[1]).parent / name
        return actual(inside) if is_file(actual(inside)) else actual(apart[0] / name)
    parts = list(image.parent.parts)
    if "images" in parts:
        position = len(parts) - 1 - parts[::-1].index("images")
        other = actual(Path(*parts[:position], "labels", *parts[position + 1 :]) / name)
        if is_file(other) or not is_file(actual(image.with_name(name))):
            return other
    return actual(image.with_name(name))


def _resolve(value: str, bases: list[Path], where: str) -> Path:
    """The folder or file that a value of data.yaml means."""
    # Some programs write ../train/images for the train/images beside the file.
    shortened = value
    while shortened.startswith("../"):
        shortened = shortened[3:]
    tried = [base / text for base in bases for text in dict.fromkeys((value, shortened))]
    for path in tried:
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            if path.exists():
                return path
    raise UserError(f"{where} is {value}, but there is no {tried[0]}; fix it, or name the folder of the data set with --images")


def _images_at(place: Path, bases: list[Path], problems: Problems) -> list[Path]:
    """The images below a folder, or those that a text file lists."""
    if place.is_dir():
        return find_images(place)
    found = []
    for number, line in enumerate(read_text(place).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        # CVAT's YOLO 1.1 lists data/obj_train_data/a.jpg for the folder obj_train_data beside the list.
        tried = [base / text for text in (name, name.removeprefix("data/")) for base in (place.parent, *bases)]
        path = next((path for one in tried if is_file(path := actual(one))), None)
        if path is None:
            problems.add(place, number, f"names {name}, but there is no such image")
        else:
            found.append(path)
    return found
