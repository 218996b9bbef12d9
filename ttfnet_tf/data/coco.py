"""A split of a data set: the images of one or several COCO files with the boxes that training or evaluation uses.

The rules of a training split (mmdetection 1.0 `CocoDataset._filter_imgs` and `_parse_ann_info`; each is a setting of the `data` section):

- a box with `ignore`, with `area` <= 0 or with a side below `min_box_size` is dropped; so is one that lies outside its image;
- a box with `iscrowd` is background unless `crowd="object"`;
- an image with a side below `min_image_size` is dropped, and so is one without a usable box unless `empty_images="keep"`.

An evaluation split keeps every image.

Several files make one split: their classes are matched by name, and image `i` of file `k` (from 0) has the id `k * 10**d + i`, where
`10**d` is the smallest power of ten above every image id of these files. `CocoSplit.own_id` gives file and id back.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.boxes import xywh_to_xyxy
from ttfnet_tf.data.annotated_images import AnnotatedImage, AnnotatedImages, joined
from ttfnet_tf.data.box_rules import REASONS, USED, reasons_to_drop
from ttfnet_tf.data.classes import Categories, category_map, choose_classes, class_groups, lacking_classes, other_classes
from ttfnet_tf.data.coco_arrays import CocoArrays, read_coco_arrays
from ttfnet_tf.data.packed import PackedFolder, is_packed, open_packed
from ttfnet_tf.data.staging import staged
from ttfnet_tf.errors import UserError
from ttfnet_tf.locations import RemotePath, location

_LARGEST_ID = 2**53  # ids are numbers of JSON


@dataclass(frozen=True)
class ImageSet:
    """An annotation file, the folder of its images, and how often an epoch shows each of them."""

    annotations: str | Path
    images: str | Path
    repeat: int = 1


@dataclass(frozen=True)
class SplitPart:
    """What a split takes from one annotation file."""

    annotations: Path
    first_id: int  # added to the image ids of the file
    category_of: Mapping[int, int]  # category id of the file -> of the split; boxes of other categories are not used
    repeat: int = 1


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """The images of one or several annotation files, ready for `data.pipeline`."""

    images: AnnotatedImages  # in the order of the files, repeated ones after each other; a list is taken too
    category_ids: list[int]  # ascending; label k stands for category_ids[k], gaps are kept
    class_names: list[str]
    annotations: Path  # of several files a name that shows all of them
    dropped: dict[str, int]  # reason -> number of boxes or images dropped for it
    packed: PackedFolder | None = None  # that holds the images
    parts: tuple[SplitPart, ...] = ()  # empty: all of `annotations` as it is
    remarks: tuple[str, ...] = ()  # lines about classes that only some of the files list

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", AnnotatedImages.of(self.images))

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @functools.cached_property
    def max_boxes(self) -> int:
        """Largest number of boxes in one image, at least 1; counted once."""
        return int(self.images.counts.max(initial=1))

    @functools.cached_property
    def missing_images(self) -> list[AnnotatedImage]:
        """Images whose file does not exist; each file is looked for once, when this is first asked."""
        images, firsts = self.images, self.images.firsts()
        if self.packed is not None:
            positions = self.packed.positions(images.names[index] for index in firsts)
            return [images[index] for index, position in zip(firsts, positions.tolist()) if position < 0]
        if isinstance(images.folder, RemotePath):
            there = images.folder.known_files()
            return [images[index] for index in firsts if os.path.normpath(images.names[index]) not in there]
        return [images[index] for index in firsts if not os.path.isfile(images.file(index))]

    def own_id(self, image_id: int) -> tuple[Path, int]:
        """The annotation file of an image, and the id that the image has there."""
        for part in reversed(self.parts):
            if image_id >= part.first_id:
                return part.annotations, image_id - part.first_id
        return self.annotations, image_id

    def summary(self) -> str:
        """One line: what is used and what was dropped, with counts."""
        boxes, images = len(self.images.boxes), f"{self.images.num_files} images"
        if self.images.tiles is not None:
            images = f"{len(self.images)} tiles of {images}"
        dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "nothing"
        return f"{self.annotations}: {images}, {boxes} boxes, {self.num_classes} classes; dropped: {dropped}"


def load_coco(annotations: str | Path, images: str | Path, **rules: Any) -> CocoSplit:
    """Reads a split of one annotation file.

    Args:
        annotations: COCO instances JSON.
        images: folder that the file names in it are relative to, or one that `ttfnet data pack` has written.
        rules: the keywords of `load_sets`.
    """
    return load_sets([ImageSet(annotations, images)], **rules)


def load_sets(
    sets: Sequence[ImageSet],
    *,
    classes: Sequence[str] = (),
    known: Categories | None = None,
    crowd: str = "background",
    min_box_size: float = 1.0,
    min_image_size: int = 32,
    empty_images: str = "drop",
    training: bool,
) -> CocoSplit:
    """Reads a split of one or several annotation files.

    Args:
        sets: the files, with the folders of their images.
        classes: which classes to use and merge, see `classes.class_groups`; boxes of others are dropped. Empty is all.
        known: (id, name) of each class of a trained model, to match classes with by name; None matches one file by its ids.
        crowd: "background" drops boxes with iscrowd, "object" uses them like any other.
        min_box_size: pixels of the original image; boxes with a shorter side are dropped.
        min_image_size: pixels; training images with a shorter side are dropped.
        empty_images: "drop" drops training images without a usable box, "keep" trains on them as background.
        training: whether images may be dropped; an evaluation split keeps all of them.

    Raises:
        UserError: a file or folder is missing, the file is not COCO, an id is unknown or given twice, a class is in no file, or no image is
            left to train on.
    """
    key = "data.train" if training else "data.val"
    read = [_read_files(one.annotations, one.images, key) for one in sets]
    files = [file for file, _, _ in read]
    categories = sorted(read[0][2].categories)
    parts: tuple[SplitPart, ...] = ()
    remarks: tuple[str, ...] = ()
    is_joined = len(sets) > 1 or sets[0].repeat > 1
    if is_joined:
        _refuse_other_folders([folder for _, folder, _ in read], key)
    if classes or is_joined or known is not None:
        parts, categories, remarks = _parts_of(sets, read, class_groups(classes), known, training)
    rules: dict[str, Any] = {"crowd": crowd, "min_box_size": min_box_size, "min_image_size": min_image_size, "empty_images": empty_images}
    others: Counter[str] = Counter()
    found, dropped = [], Counter()
    for place, (_, folder, coco) in enumerate(read):
        if parts:
            coco, others_here = _with_classes(coco, parts[place].category_of)
            others += others_here
        images, dropped_here = _images_of(coco, folder, [number for number, _ in categories], training=training, **rules)
        found.append(images)
        dropped.update(dropped_here)
    counts = ({other_classes(others): others.total()} if others else {}) | dict(dropped)
    images = joined(found, [part.first_id for part in parts], [part.repeat for part in parts]) if is_joined else found[0]
    packed = read[0][1] if isinstance(read[0][1], PackedFolder) else None
    ids, names = [number for number, _ in categories], [name for _, name in categories]
    split = CocoSplit(images, ids, names, _name_of(files, sets), counts, packed, parts, remarks)
    if not len(images):
        raise UserError(f"{split.summary()}; no image is left to train on")
    return split


def _images_of(
    coco: CocoArrays,
    folder: Any,
    category_ids: Sequence[int],
    *,
    crowd: str,
    min_box_size: float,
    min_image_size: int,
    empty_images: str,
    training: bool,
) -> tuple[AnnotatedImages, dict[str, int]]:
    """The images of one file with their usable boxes, and what was dropped."""
    reasons = reasons_to_drop(
        coco.bbox, coco.area, coco.sizes[coco.image], coco.iscrowd, coco.ignore, crowd=crowd, min_box_size=min_box_size
    )
    by_image = np.argsort(coco.image, kind="stable")  # annotations of an image stay in the order of the file
    usable = by_image[reasons[by_image] == USED]
    counts = np.bincount(coco.image[usable], minlength=len(coco.names))
    small = coco.sizes.min(axis=1) < min_image_size if training else np.zeros(len(counts), bool)
    empty = (counts == 0) & ~small if training and empty_images == "drop" else np.zeros(len(counts), bool)
    kept = ~small & ~empty
    usable = usable[kept[coco.image[usable]]]
    found = AnnotatedImages(
        ids=coco.image_ids[kept],
        sizes=coco.sizes[kept],
        folder=folder,
        names=[name for name, is_kept in zip(coco.names, kept.tolist()) if is_kept],
        offsets=np.concatenate([[0], np.cumsum(counts[kept])]),
        boxes=xywh_to_xyxy(coco.bbox[usable]),
        labels=np.searchsorted(category_ids, coco.category[usable]).astype(np.int32),
    )
    return found, _counts_of_dropped(coco.image[by_image], reasons[by_image], small, empty)


def _parts_of(
    sets: Sequence[ImageSet],
    read: Sequence[tuple[Path, Any, CocoArrays]],
    groups: Mapping[str, Sequence[str]],
    known: Categories | None,
    training: bool,
) -> tuple[tuple[SplitPart, ...], list[tuple[int, str]], tuple[str, ...]]:
    """(what is taken of each file, the classes of all, remarks about classes that are not in each file)."""
    files = [(file, coco.categories) for file, _, coco in read]
    chosen = choose_classes(files, groups, known=known, training=training)
    largest = max(int(coco.image_ids.max()) for _, _, coco in read)
    step = 10 ** len(str(largest)) if len(read) > 1 else 0
    if step * (len(read) - 1) + largest >= _LARGEST_ID:
        raise UserError(f"{read[0][0]}: image ids up to {largest} are too large to combine {len(read)} files; give the images smaller ids")
    parts = tuple(
        SplitPart(file, place * step, category_map(coco.categories, groups, chosen), one.repeat)
        for place, (one, (file, _, coco)) in enumerate(zip(sets, read))
    )
    return parts, chosen, tuple(lacking_classes(files, groups, chosen)) if training else ()


def _with_classes(coco: CocoArrays, category_of: Mapping[int, int]) -> tuple[CocoArrays, Counter[str]]:
    """The annotations with the categories of a split, and the number of boxes of each class that is not used."""
    used = np.isin(coco.category, list(category_of))
    names = dict(coco.categories)
    ids, counts = np.unique(coco.category[~used], return_counts=True)
    others: Counter[str] = Counter()
    for number, count in zip(ids.tolist(), counts.tolist()):
        others[names[number]] += count
    columns = {name: getattr(coco, name)[used] for name in ("image", "bbox", "area", "iscrowd", "ignore")}
    category = np.array([category_of[number] for number in coco.category[used].tolist()], np.int64)
    return dataclasses.replace(coco, category=category, **columns), others


def _refuse_other_folders(folders: Sequence[Any], key: str) -> None:
    """Several files, and repeats, need folders of plain image files."""
    for folder in folders:
        if isinstance(folder, (PackedFolder, RemotePath)):
            kind = "is packed" if isinstance(folder, PackedFolder) else "is a URL"
            raise UserError(f"{folder}: {kind}, and {key} with several files or repeat takes folders of image files; name this one alone")


def _name_of(files: Sequence[Path], sets: Sequence[ImageSet]) -> Path:
    """The file, or a name in its folder that shows all files."""
    if len(files) == 1:
        return files[0]
    shown = [f"{file.name} x {one.repeat}" if one.repeat > 1 else file.name for file, one in zip(files, sets)]
    return files[0].with_name(" + ".join(shown))


def _counts_of_dropped(image: np.ndarray, reasons: np.ndarray, small: np.ndarray, empty: np.ndarray) -> dict[str, int]:
    """Reason -> number, in the order in which an image after the other brings them: first its boxes, then the image itself."""
    found = []
    for number, reason in enumerate(REASONS, start=1):
        places = np.flatnonzero(reasons == number)
        if len(places):
            found.append((image[places[0]], 0, places[0], reason, len(places)))
    for is_dropped, reason in ((small, "images below min_image_size"), (empty, "images without a usable box")):
        if is_dropped.any():
            found.append((is_dropped.argmax(), 1, 0, reason, int(is_dropped.sum())))
    return {reason: count for *_, reason, count in sorted(found)}


def _read_files(annotations: str | Path, images: str | Path, key: str) -> tuple[Path, Any, CocoArrays]:
    """(annotation file, folder of the images, content of the file); `key` is the section that messages name."""
    if not str(annotations):
        raise UserError(f"{key}.annotations is empty; name a COCO instances JSON")
    if not str(images):
        raise UserError(f"{key}.images is empty; name the folder of the images of {annotations}")
    file, folder = location(annotations), location(images)
    coco = read_coco_arrays(file)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; set {key}.images to the folder of the images of {annotations}")
    if is_packed(folder):
        folder = open_packed(staged(folder) if isinstance(folder, RemotePath) else folder)
    return file, folder, coco
