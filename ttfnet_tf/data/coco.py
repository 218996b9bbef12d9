"""A split of a data set: the images of one COCO file with the boxes that training or evaluation uses.

The rules of a training split (mmdetection 1.0 `CocoDataset._filter_imgs` and `_parse_ann_info`; each is a setting of the `data` section):

- a box with `ignore`, with `area` <= 0 or with a side below `min_box_size` is dropped; so is one that lies outside its image;
- a box with `iscrowd` is background unless `crowd="object"`;
- an image with a side below `min_image_size` is dropped, and so is one without a usable box unless `empty_images="keep"`.

An evaluation split keeps every image.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.boxes import xywh_to_xyxy
from ttfnet_tf.data.annotated_images import AnnotatedImage, AnnotatedImages
from ttfnet_tf.data.box_rules import REASONS, USED, reasons_to_drop
from ttfnet_tf.data.coco_arrays import CocoArrays, read_coco_arrays
from ttfnet_tf.data.packed import PackedFolder, is_packed, open_packed
from ttfnet_tf.data.staging import staged
from ttfnet_tf.errors import UserError
from ttfnet_tf.locations import RemotePath, location


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """The images of one annotation file, ready for `data.pipeline`."""

    images: AnnotatedImages  # in the order of the file; a list is taken too
    category_ids: list[int]  # ascending; label k stands for category_ids[k], gaps are kept
    class_names: list[str]
    annotations: Path
    dropped: dict[str, int]  # reason -> number of boxes or images dropped for it
    packed: PackedFolder | None = None  # that holds the images

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
        if self.packed is not None:
            return [self.images[index] for index in np.flatnonzero(self.packed.positions(self.images.names) < 0)]
        if isinstance(self.images.folder, RemotePath):
            there = self.images.folder.known_files()
            return [self.images[index] for index, name in enumerate(self.images.names) if os.path.normpath(name) not in there]
        return [self.images[index] for index in range(len(self.images)) if not os.path.isfile(self.images.file(index))]

    def summary(self) -> str:
        """One line: what is used and what was dropped, with counts."""
        boxes = len(self.images.boxes)
        dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "nothing"
        return f"{self.annotations}: {len(self.images)} images, {boxes} boxes, {self.num_classes} classes; dropped: {dropped}"


def load_coco(
    annotations: str | Path,
    images: str | Path,
    *,
    crowd: str = "background",
    min_box_size: float = 1.0,
    min_image_size: int = 32,
    empty_images: str = "drop",
    training: bool,
) -> CocoSplit:
    """Reads one split.

    Args:
        annotations: COCO instances JSON.
        images: folder that the file names in it are relative to, or one that `ttfnet data pack` has written.
        crowd: "background" drops boxes with iscrowd, "object" uses them like any other.
        min_box_size: pixels of the original image; boxes with a shorter side are dropped.
        min_image_size: pixels; training images with a shorter side are dropped.
        empty_images: "drop" drops training images without a usable box, "keep" trains on them as background.
        training: whether images may be dropped; an evaluation split keeps all of them.

    Raises:
        UserError: a file or folder is missing, the file is not COCO, an id is unknown or given twice, or no image is left to train on.
    """
    annotations, folder, coco = _read_files(annotations, images, "data.train" if training else "data.val")
    packed = folder if isinstance(folder, PackedFolder) else None
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
    category_ids = sorted(one for one, _ in coco.categories)
    found = AnnotatedImages(
        ids=coco.image_ids[kept],
        sizes=coco.sizes[kept],
        folder=folder,
        names=[name for name, is_kept in zip(coco.names, kept.tolist()) if is_kept],
        offsets=np.concatenate([[0], np.cumsum(counts[kept])]),
        boxes=xywh_to_xyxy(coco.bbox[usable]),
        labels=np.searchsorted(category_ids, coco.category[usable]).astype(np.int32),
    )
    dropped = _counts_of_dropped(coco.image[by_image], reasons[by_image], small, empty)
    split = CocoSplit(found, category_ids, [name for _, name in sorted(coco.categories)], annotations, dropped, packed)
    if not len(found):
        raise UserError(f"{split.summary()}; no image is left to train on")
    return split


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
