"""YOLO: one text file for each image, lines `class cx cy w h` in shares of the image, and a data.yaml with the names.

The shares are continuous: cx = (x + w / 2) / width of the image with COCO's x and w.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import (
    Box,
    Category,
    DataSet,
    Entry,
    Problems,
    Split,
    Watch,
    choose_splits,
    common_folder,
    find_images,
    image_size,
    number_images,
    read_text,
    split_name,
    tidy,
    unwatched,
)

RECORD = "converted.json"  # written by `convert`, beside data.yaml; holds the ids that YOLO has no place for
_SPLITS = ("train", "val", "test")
_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names")
_TOLERANCE = 0.01  # shares this far outside 0..1 are rounding, as other readers of YOLO take them


def read_yolo(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    watch: Watch = unwatched,
) -> DataSet:
    """Reads a data.yaml and what it names, or a folder in one of the usual layouts.

    Layouts without a data.yaml: images/train beside labels/train, train/images beside train/labels, images beside labels, train.txt
    with paths of images, and text files beside their images. An image without a text file has no objects.

    Args:
        source: the data.yaml, or the folder.
        images: in place of the `path` of data.yaml; with a folder of nothing but text files, the folder of their images.
        split: the one to take, or the name for images that lie in no split; default all, "train".
        classes: names by number, where no file has them.
        problems: gets a line for everything that is wrong; the images concerned are not in the result.
        watch: shows progress over a list.

    Raises:
        UserError: files or folders are missing, or there are no names.
    """
    document = _find_yaml(source)
    notes: Counter[str] = Counter()
    has_keypoints = False
    if document is not None:
        content, lines, names = _read_yaml(document)
        has_keypoints = content.get("kpt_shape") is not None
        found = _images_of_yaml(document, content, lines, images, split, problems)
        folder = document.parent
    else:
        if not source.is_dir():
            raise UserError(f"{source}: is no data.yaml and no folder of a YOLO data set")
        names, folder = None, source
        found = _images_of_folder(source, images, split, problems)
    names = _choose_names(names, folder, classes, source)
    # Only text files in SOURCE, images elsewhere.
    apart = (source, images) if document is None and images is not None and not find_images(source) else None

    labels = {}
    for name, paths in found.items():
        labels.update((path, _label_file(path, apart)) for path in paths)
        if paths and not any(labels[path].is_file() for path in paths):
            raise UserError(f"{source}: split '{name}' has {len(paths)} images and no label file; expected such as {labels[paths[0]]}")
    entries = {}
    for path in watch("images", list(labels)):
        entry = _read_image(path, labels[path], names, has_keypoints, problems, notes)
        if entry is not None:
            entries[path] = entry
    _note_unused(labels, notes)

    splits = []
    for name, paths in found.items():
        kept = [entries[path] for path in paths if path in entries]
        splits.append(Split(name, kept, common_folder(kept) if kept else folder))
    category_ids, known = _recorded_ids(folder, names, entries)
    number_images(splits, known)
    categories = [Category(category_ids.get(number, number), name, number) for number, name in names.items()]
    return DataSet(sorted(categories, key=lambda category: category.id), splits, notes)


def yolo_line(number: int, bbox: Sequence[float], size: tuple[int, int]) -> tuple[str | None, bool]:
    """One line of a text file.

    Args:
        number: class, from 0.
        bbox: COCO x, y, width, height in pixels.
        size: (height, width) of the image.

    Returns:
        The line without its end, None for a box that has no area inside the image; and whether it had to be clipped: only boxes
        are that YOLO cannot hold, with a centre outside the image or a side longer than it.
    """
    height, width = size
    x, y, w, h = bbox
    if w <= 0 or h <= 0:
        return None, False
    shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    is_clipped = not all(0 <= share <= 1 for share in shares)
    if is_clipped:
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
        if right <= left or bottom <= top:
            return None, False
        shares = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return f"{number} " + " ".join(f"{share:.8f}" for share in shares), is_clipped


def data_yaml(names: Sequence[str], folders: dict[str, str]) -> str:
    """Text of a data.yaml.

    Args:
        names: of the classes in the order of their numbers.
        folders: name of a split -> folder of its images, relative to the file. train, val and test are what trainers look for;
            names that begin so (val2017) take that key where it is free.
    """
    keys: dict[str, str] = {name: folder for name, folder in folders.items() if name in _SPLITS}
    for name, folder in folders.items():
        short = next((key for key in _SPLITS if name.startswith(key) and key not in keys), name)
        if name not in _SPLITS:
            keys[short] = folder
    content = {**keys, "nc": len(names), "names": dict(enumerate(names))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _find_yaml(source: Path) -> Path | None:
    if source.is_file():
        if source.suffix.lower() not in (".yaml", ".yml"):
            raise UserError(f"{source}: is no data.yaml and no folder of a YOLO data set")
        return source
    named = [source / name for name in _YAML_NAMES if (source / name).is_file()]
    others = sorted([*source.glob("*.yaml"), *source.glob("*.yml")])
    if not named and len(others) > 1:
        raise UserError(f"{source}: holds {len(others)} YAML files; name the one with the classes, e.g. {others[0]}")
    return next(iter(named or others), None)


def _read_yaml(path: Path) -> tuple[dict, dict[str, int], dict[int, str] | None]:
    """Content, line of each key, and the names by number; names as they are written, so that `no` and `007` stay what they are."""
    text = read_text(path)
    try:
        node, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: is not YAML ({getattr(error, 'problem', None) or 'unreadable character'})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no data.yaml; expected keys such as train, val and names")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    found = next((value for key, value in node.value if key.value == "names"), None)
    if found is None:
        return content, lines, None
    where = f"{path}:{lines['names']}"
    pairs = enumerate(found.value) if isinstance(found, yaml.SequenceNode) else None
    if isinstance(found, yaml.MappingNode):
        pairs = [(key.value, value) for key, value in found.value]
    if pairs is None:
        raise UserError(f"{where}: names must be a list, or a map from numbers to names")
    names: dict[int, str] = {}
    for number, value in pairs:
        if not str(number).isdigit() or not isinstance(value, yaml.ScalarNode) or not value.value:
            raise UserError(f"{path}:{value.start_mark.line + 1}: names must be a list, or a map from numbers to names")
        if int(number) in names:
            raise UserError(f"{path}:{value.start_mark.line + 1}: names gives class {number} twice")
        names[int(number)] = value.value
    if isinstance(content.get("nc"), int) and content["nc"] != len(names):
        raise UserError(f"{path}:{lines['nc']}: nc is {content['nc']}, but there are {len(names)} names")
    return content, lines, dict(sorted(names.items()))


def _choose_names(names, folder: Path, classes: Sequence[str] | None, source: Path) -> dict[int, str]:
    if names is None:
        found = [path for name in _CLASS_FILES for path in (folder / name, folder / "labels" / name) if path.is_file()]
        if found:
            names = dict(enumerate(line.strip() for line in read_text(found[0]).splitlines() if line.strip()))
    if names and classes is not None and list(names.values()) != list(classes):
        raise UserError(f"--classes {','.join(classes)}: the data set has names of its own ({', '.join(names.values())})")
    names = names or dict(enumerate(classes or ()))
    if not names:
        raise UserError(f"{source}: has no names of classes; add names to a data.yaml, or --classes a,b,c in the order of their numbers")
    return names


def _images_of_yaml(document, content, lines, images, split, problems) -> dict[str, list[Path]]:
    """Images by split."""
    stated = content.get("path")
    if stated is not None and not isinstance(stated, str):
        raise UserError(f"{document}:{lines['path']}: path must be the folder of the data set")
    bases = [images] if images is not None else [document.parent / (stated or "."), document.parent]
    keys = {split_name(key): key for key in content if isinstance(key, str) and split_name(key) in _SPLITS and content[key]}
    if split in content and split not in keys.values():
        keys[split] = split
    if not keys:
        raise UserError(f"{document}: has none of the keys train, val and test")
    found = {}
    for name, key in choose_splits({name: keys[name] for name in sorted(keys, key=_rank)}, split, document).items():
        values = content[key] if isinstance(content[key], list) else [content[key]]
        if not all(isinstance(value, str) for value in values):
            raise UserError(f"{document}:{lines[key]}: {key} must be a folder, a text file or a list of them")
        places = [_resolve(value, bases, f"{document}:{lines[key]}: {key}") for value in values]
        found[name] = list(dict.fromkeys(path for place in places for path in _images_at(place, bases, problems)))
        if not found[name] and not problems:
            raise UserError(f"{document}:{lines[key]}: {key} has no images in {places[0]}")
    return found


def _resolve(value: str, bases: list[Path], where: str) -> Path:
    """The folder or file that a value of data.yaml means."""
    # Some programs write ../train/images for the train/images beside the file.
    shortened = value
    while shortened.startswith("../"):
        shortened = shortened[3:]
    tried = [base / text for base in bases for text in dict.fromkeys((value, shortened))]
    for path in tried:
        if path.exists():
            return path
    raise UserError(f"{where} is {value}, but there is no {tried[0]}; mend it, or name the data set's folder with --images")


def _images_at(place: Path, bases: list[Path], problems: Problems) -> list[Path]:
    """Those below a folder, or those that a text file lists."""
    if place.is_dir():
        return find_images(place)
    found = []
    for number, line in enumerate(read_text(place).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        path = next((path for base in (place.parent, *bases) if (path := base / name).is_file()), None)
        if path is None:
            problems.add(place, number, f"names {name}, but there is no such image")
        else:
            found.append(path)
    return found


def _images_of_folder(source, images, split, problems) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for home, inner in ((images or source / "images", ""), (source, "images")):
        for child in sorted(home.iterdir()) if home.is_dir() else ():
            name = split_name(child.name.lower())
            if name in _SPLITS and (child / inner).is_dir() and (paths := find_images(child / inner)):
                found.setdefault(name, []).extend(paths)
    for path in () if found else sorted(source.glob("*.txt")):
        name = split_name(path.stem.lower())
        if name in _SPLITS:
            found[name] = list(dict.fromkeys(_images_at(path, [images or source], problems)))
    if found:
        return choose_splits(dict(sorted(found.items(), key=lambda pair: _rank(pair[0]))), split, source)
    home = images or (source / "images" if (source / "images").is_dir() else source)
    paths = find_images(home)
    if not paths and not problems:
        raise UserError(f"{home}: holds no image; name their folder with --images")
    return {split or "train": paths}


def _rank(name: str) -> tuple[int, str]:
    return (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name)


def _label_file(image: Path, apart: tuple[Path, Path] | None) -> Path:
    """Where the boxes of an image are: labels in place of the last images in its path, or beside it."""
    name = f"{image.stem}.txt"
    if apart is not None:
        inside = apart[0] / image.relative_to(apart[1]).parent / name
        return inside if inside.is_file() else apart[0] / name
    parts = list(image.parent.parts)
    if "images" in parts:
        position = len(parts) - 1 - parts[::-1].index("images")
        other = Path(*parts[:position], "labels", *parts[position + 1 :]) / name
        if other.is_file() or not image.with_name(name).is_file():
            return other
    return image.with_name(name)


def _read_image(path, label, names, has_keypoints, problems, notes) -> Entry | None:
    """None where something in its label file is wrong or it is no image."""
    before = len(problems)
    try:
        size = image_size(path)
        text = read_text(label) if label.is_file() else None
    except UserError as error:
        problems.lines.append(str(error))
        return None
    if text is None:
        notes["images without a label file have no objects"] += 1
    boxes = []
    for line, content in enumerate((text or "").splitlines(), start=1):
        fields = content.split()
        if fields:
            box = _read_line(fields, size, names, has_keypoints, label, line, problems, notes)
            if box is not None:
                boxes.append(box)
    return None if len(problems) > before else Entry(path, size, boxes)


def _read_line(fields, size, names, has_keypoints, label, line, problems, notes) -> Box | None:
    numbers = []
    for field in fields:
        try:
            numbers.append(float(field))
        except ValueError:
            problems.add(label, line, f"'{field}' is not a number; expected class cx cy w h")
            return None
    number, shares = numbers[0], numbers[1:]
    is_polygon = len(shares) >= 6 and len(shares) % 2 == 0 and not has_keypoints
    if len(shares) != 4 and not is_polygon and not (has_keypoints and len(shares) > 4):
        problems.add(label, line, f"has {len(numbers)} numbers; expected 5 (class cx cy w h), or a class and a polygon of 3 points or more")
        return None
    if has_keypoints and len(shares) > 4:
        notes["lines with keypoints: only their boxes are kept"] += 1
        shares = shares[:4]
    if number not in names:
        problems.add(label, line, f"class {number:g} is not in names, which has {min(names)} to {max(names)}")
        return None
    wrong = next((share for share in shares if not -_TOLERANCE <= share <= 1 + _TOLERANCE), None)  # NaN too
    if wrong is not None:
        problems.add(label, line, f"{wrong:g} lies outside 0..1: expected shares of the image, not pixels")
        return None
    if is_polygon:
        notes["polygons: only their bounding boxes are kept"] += 1
        left, top, right, bottom = min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
        shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    cx, cy, w, h = shares
    if min(w, h) < 0:
        problems.add(label, line, f"width {w:g} and height {h:g} must not be negative")
        return None
    height, width = size
    bbox = (tidy((cx - w / 2) * width), tidy((cy - h / 2) * height), tidy(w * width), tidy(h * height))
    return Box(int(number), bbox)


def _note_unused(labels: dict[Path, Path], notes: Counter) -> None:
    used = set(labels.values())
    for folder in sorted({label.parent for label in used}):
        for path in folder.glob("*.txt"):
            if path not in used and path.name not in _CLASS_FILES and split_name(path.stem) not in _SPLITS:
                notes["label files without an image are left out"] += 1


def _recorded_ids(folder: Path, names: dict[int, str], entries: dict[Path, Entry]) -> tuple[dict[int, int], dict[Path, int] | None]:
    """Category ids by number and image ids by path, as `convert` left them in its record; nothing where there is none."""
    record = folder / RECORD
    if not record.is_file():
        return {}, None
    try:
        ids = json.loads(record.read_text(encoding="utf-8"))["ids"]
        categories = {number: int(identity) for number, identity in enumerate(ids["categories"])}
        images = {folder / name: int(identity) for name, identity in ids["images"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{record}: is damaged; delete it to have the images and classes numbered anew") from None
    if categories.keys() != names.keys():  # classes were added since
        categories = {}
    return categories, {path: images[path] for path in entries if path in images} or None
