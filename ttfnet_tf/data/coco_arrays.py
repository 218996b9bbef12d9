"""One COCO instances JSON as arrays: no object for each box.

A plain file is read part by part (`json_parts`) and checked as a whole. Whatever is unusual or wrong in it, the exact reader of
`coco_file` decides: it takes everything that may be in such a file, and names the wrong entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np

from ttfnet_tf.data.coco_file import LARGEST_CATEGORY, read_bytes, read_content
from ttfnet_tf.data.file_names import file_name_fault
from ttfnet_tf.json_parts import read_in_parts
from ttfnet_tf.locations import location

_LARGEST = 2**53
_BOM = b"\xef\xbb\xbf"
_FLAGS = (None, 0, 1, False, True)


@dataclass(frozen=True, eq=False)
class CocoArrays:
    """The images, categories and annotations of a file, in its order."""

    image_ids: np.ndarray  # int64 [I]
    names: list[str]  # file_name of each image
    sizes: np.ndarray  # [I, 2] height, width; int64, or objects where a side is no int
    categories: list[tuple[int, str]]  # id and name
    image: np.ndarray  # int64 [N] position of the image of each annotation
    category: np.ndarray  # int64 [N] category id
    bbox: np.ndarray  # float64 [N, 4] x, y, width, height
    area: np.ndarray  # float64 [N], NaN where it is not given
    iscrowd: np.ndarray  # bool [N]
    ignore: np.ndarray  # bool [N]


def read_coco_arrays(path: str | Path) -> CocoArrays:
    """The checked annotations of a file.

    Raises:
        UserError: the file cannot be read or is not a COCO instances file; names the id or the position of the wrong entry.
    """
    file = location(path)
    data = read_bytes(file)
    try:
        content = read_in_parts(data.removeprefix(_BOM), {"images": _images, "annotations": _annotations})
        return _joined(content["images"], content.get("annotations", []), _categories(content["categories"]))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        content = read_content(file, data)
    categories = [(one["id"], one["name"]) for one in content["categories"]]
    return _joined([_images(content["images"])], [_annotations(content["annotations"])], categories)


def _images(entries: list[dict]) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(ids, file names, sizes) of some images."""
    ids, names = _integers(map(itemgetter("id"), entries)), [one["file_name"] for one in entries]
    _require(set(map(type, names)) <= {str} and all(names) and ids.min(initial=0) >= 0 and not any(map(file_name_fault, names)))
    sides = [(one["height"], one["width"]) for one in entries]
    kinds = set(map(type, chain.from_iterable(sides)))
    _require(kinds <= {int, float})
    values = np.array(sides, np.float64).reshape(-1, 2)
    _require(bool(((values >= 1) & (values < _LARGEST)).all()))
    return ids, names, np.array(sides, np.int64 if kinds <= {int} else object).reshape(-1, 2)


def _annotations(entries: list[dict]) -> dict[str, np.ndarray]:
    """Columns of some annotations."""
    boxes = list(map(itemgetter("bbox"), entries))
    _require(set(map(type, boxes)) <= {list} and set(map(len, boxes)) <= {4})
    areas = [one.get("area") for one in entries]
    columns = {
        "id": _integers(map(itemgetter("id"), entries)),
        "image_id": _integers(map(itemgetter("image_id"), entries)),
        "category": _integers(map(itemgetter("category_id"), entries)),
        "bbox": _floats(list(chain.from_iterable(boxes))).reshape(-1, 4),
        "area": np.full(len(entries), np.nan),
    }
    given = [area for area in areas if area is not None]
    columns["area"][[area is not None for area in areas]] = _floats(given)
    for key in ("iscrowd", "ignore"):
        flags = [one.get(key) for one in entries]
        _require(set(map(type, flags)) <= {type(None), bool, int, float} and set(flags) <= set(_FLAGS))
        columns[key] = np.array(flags, bool)
    return columns


def _categories(entries: list[dict]) -> list[tuple[int, str]]:
    ids, names = _integers(map(itemgetter("id"), entries)), [one["name"] for one in entries]
    _require(len(entries) > 0 and set(map(type, names)) <= {str} and all(names))
    _require(len(set(ids.tolist())) == len(ids) and int(abs(ids).max()) <= LARGEST_CATEGORY)
    return list(zip(ids.tolist(), names))


def _joined(images: list, annotations: list[dict[str, np.ndarray]], categories: list[tuple[int, str]]) -> CocoArrays:
    """The parts as one, once all ids are known to be different and to belong to something."""
    _require(sum(len(part[0]) for part in images) > 0)
    image_ids = np.concatenate([part[0] for part in images])
    columns = {}
    for key, empty in _annotations([]).items():
        columns[key] = np.concatenate([empty, *(part.pop(key) for part in annotations)])
    _require(_are_different(image_ids) and _are_different(columns.pop("id")))
    order = np.argsort(image_ids)
    image = _positions(image_ids, order, columns.pop("image_id"))
    known = np.array(sorted(one for one, _ in categories))
    _positions(known, np.arange(len(known)), columns["category"])
    return CocoArrays(
        image_ids=image_ids,
        names=list(chain.from_iterable(part[1] for part in images)),
        sizes=np.concatenate([part[2] for part in images]),
        categories=categories,
        image=image,
        **columns,
    )


def _positions(ids: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[N] positions in `ids` of the wanted ones, all of which must be there; `order` sorts `ids`."""
    places = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
    _require(bool((ids[places] == wanted).all()))
    return places


def _integers(values: Iterable) -> np.ndarray:
    """int64 [N] of numbers that are integers of JSON below 2**53."""
    values = list(values)
    _require(set(map(type, values)) <= {int})
    integers = np.array(values, np.int64)
    _require(bool((abs(integers) < _LARGEST).all()))
    return integers


def _floats(values: list) -> np.ndarray:
    """float64 [N] of finite numbers of JSON below 2**53."""
    _require(set(map(type, values)) <= {int, float})
    floats = np.array(values, np.float64)
    _require(bool((abs(floats) < _LARGEST).all()))
    return floats


def _are_different(ids: np.ndarray) -> bool:
    ordered = np.sort(ids)
    return not bool((ordered[1:] == ordered[:-1]).any())


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("unusual content")
