"""A synthetic data set in COCO format: coloured shapes on a textured background, to try everything without a download.

Four classes, or others by name, with gaps in their ids, and one to six objects in each image, tiny to large, which may overlap. The same
arguments give the same bytes.
"""

from __future__ import annotations

import colorsys
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import remove_left_over, sync_tree, write_text
from ttfnet_tf.json_text import json_text

# Category id and hue (0..1) of each class; the ids have gaps, as COCO's do.
CLASSES = {"circle": (1, 0.0), "square": (3, 0.33), "triangle": (4, 0.62), "cross": (7, 0.15), "star": (9, 0.83)}
DEFAULT_CLASSES = ("circle", "square", "triangle", "cross")
# Longer side relative to the image's shorter one: least, largest, probability. Tiny objects are few, because they limit the AP.
SIZES = {"tiny": (0.055, 0.08, 0.08), "small": (0.09, 0.2, 0.3), "medium": (0.2, 0.4, 0.5), "large": (0.45, 0.75, 0.12)}
MAX_OBJECTS = 6
MIN_VISIBLE = 0.6  # fraction of an object's pixels that stays uncovered
MIN_SIDE = 6  # px
_README = "Synthetic shapes in COCO format, drawn by `ttfnet data shapes`. Draw them again with --overwrite, or delete the folder.\n"
_UNFINISHED = "Being drawn by `ttfnet data shapes`, or left by a call that was stopped; the same command draws all of it.\n"
_MARKER = "README.txt"


@dataclass(frozen=True, eq=False)
class Shape:
    """One drawn object."""

    name: str  # key of CLASSES
    mask: np.ndarray  # bool [H, W], all its pixels, covered or not
    box: tuple[int, int, int, int]  # COCO x, y, width, height of the mask in pixels


def draw_shapes(
    out: str | Path,
    *,
    train: int = 200,
    val: int = 40,
    size: tuple[int, int] = (192, 192),
    seed: int = 0,
    classes: Sequence[str] = DEFAULT_CLASSES,
    overwrite: bool = False,
    on_image: Callable[[int], None] | None = None,
) -> None:
    """Writes `annotations/{train,val}.json` and the images `train/*.png`, `val/*.png` into `out`.

    Args:
        out: folder, new or empty.
        train: number of training images.
        val: number of validation images.
        size: (H, W) of every image in pixels, at least 32.
        seed: of everything drawn, 0 or more.
        classes: keys of CLASSES; their order does not matter.
        overwrite: replace the shapes that an earlier call drew into `out`; a folder with other files is refused.
        on_image: called with the number of images drawn so far.

    Raises:
        UserError: a number is out of range, a class is unknown or named twice, or `out` holds other files or cannot be written.
    """
    for name, value, least in (("train", train, 1), ("val", val, 1), ("size", min(size), 32), ("seed", seed, 0)):
        if value < least:
            raise UserError(f"shapes: {name}={value} must be {least} or more")
    names = _in_order(classes)
    out, report = Path(out), on_image or (lambda done: None)
    try:
        _make_room(out, overwrite)
        write_text(out / _MARKER, _UNFINISHED)
        (out / "annotations").mkdir()
        for part, (split, count, before) in enumerate((("train", train, 0), ("val", val, train))):
            (out / split).mkdir()
            content = _draw_split(out / split, count, size, names, (seed, part), lambda done, before=before: report(before + done))
            write_text(out / "annotations" / f"{split}.json", json_text(content, indent=1, ascii_only=True) + "\n")
        sync_tree(out)
        write_text(out / _MARKER, _README)
    except OSError as error:
        raise UserError(f"{error.filename or out}: cannot be written ({error.strerror})") from None


def draw_image(rng: np.random.Generator, size: tuple[int, int], names: Sequence[str] = DEFAULT_CLASSES) -> tuple[np.ndarray, list[Shape]]:
    """One image of objects of the named classes.

    Returns:
        uint8 [H, W, 3] RGB, and its 1 to MAX_OBJECTS shapes in the order of drawing, larger ones first.
    """
    image = _background(rng, size)
    kinds = rng.choice(list(SIZES), int(rng.integers(1, MAX_OBJECTS + 1)), p=[probability for _, _, probability in SIZES.values()])
    sides = sorted((rng.uniform(*SIZES[kind][:2]) * min(size) for kind in kinds), reverse=True)
    shapes: list[Shape] = []
    visible: list[np.ndarray] = []
    for side in sides:
        for _ in range(20):  # tries to find room; a full image has fewer objects
            shape = _place(rng, side, size, names)
            left = [mask & ~shape.mask for mask in visible]
            # Two of one class would merge into one blob of colour.
            merges = any(shape.name == drawn.name and (shape.mask & drawn.mask).any() for drawn in shapes)
            if not merges and all(mask.sum() >= MIN_VISIBLE * drawn.mask.sum() for mask, drawn in zip(left, shapes)):
                _paint(image, shape, rng)
                shapes.append(shape)
                visible = [*left, shape.mask]
                break
    return image, shapes


def shape_mask(name: str, height: int, width: int) -> np.ndarray:
    """bool [height, width] of one shape that fills its box."""
    y = (np.arange(height)[:, None] + 0.5) / height  # 0..1 at the centres of pixels
    x = (np.arange(width)[None, :] + 0.5) / width
    if name == "circle":
        return (2 * x - 1) ** 2 + (2 * y - 1) ** 2 <= 1
    if name == "square":
        return np.ones([height, width], bool)
    if name == "triangle":  # point up
        return np.abs(2 * x - 1) <= y
    if name == "cross":
        return (np.abs(2 * x - 1) <= 1 / 3) | (np.abs(2 * y - 1) <= 1 / 3)
    if name == "star":  # one point up: inside at least four of the five lines that join every second point
        right, up = 0.9510565 * (2 * x - 1), 1 - 1.8090170 * y  # the points have the radius 1
        lines = ((0, 1), (0.9510565, 0.3090170), (0.5877853, -0.8090170), (-0.5877853, -0.8090170), (-0.9510565, 0.3090170))
        return np.sum([a * right + b * up <= 0.3090170 for a, b in lines], axis=0) >= 4
    raise ValueError(f"no shape {name!r}; there are {', '.join(CLASSES)}")


def _in_order(classes: Sequence[str]) -> list[str]:
    """The named classes in the order of CLASSES."""
    for number, name in enumerate(classes):
        if name not in CLASSES:
            raise UserError(f"shapes: no class {name!r}; name some of {', '.join(CLASSES)}")
        if name in classes[:number]:
            raise UserError(f"shapes: class {name!r} is named twice; name it once")
    if not classes:
        raise UserError(f"shapes: no class is named; name some of {', '.join(CLASSES)}")
    return [name for name in CLASSES if name in classes]


def _place(rng: np.random.Generator, side: float, size: tuple[int, int], names: Sequence[str]) -> Shape:
    name = str(rng.choice(list(names)))
    ratio = rng.uniform(0.7, 1.0)
    sides = (side, side * ratio) if rng.random() < 0.5 else (side * ratio, side)
    height, width = (max(MIN_SIDE, round(s)) for s in sides)
    top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(size, (height, width)))
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = shape_mask(name, height, width)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))
    return Shape(name, mask, box)


def _paint(image: np.ndarray, shape: Shape, rng: np.random.Generator) -> None:
    hue = CLASSES[shape.name][1] + rng.uniform(-0.04, 0.04)
    colour = np.array(colorsys.hsv_to_rgb(hue % 1.0, rng.uniform(0.75, 1.0), rng.uniform(0.75, 1.0))) * 255
    grain = rng.integers(-8, 9, (int(shape.mask.sum()), 1))
    image[shape.mask] = np.clip(colour + grain, 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Grey clouds with grain, uint8 [H, W, 3]."""
    coarse = rng.uniform(90, 165, (5, 5, 1)) + rng.uniform(-12, 12, (5, 5, 3))
    # uint8 before the resize: its fixed-point arithmetic gives the same result on every machine.
    clouds = cv2.resize(coarse.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return (clouds + rng.integers(-6, 7, (*size, 1))).astype(np.uint8)


def _draw_split(
    folder: Path, count: int, size: tuple[int, int], names: list[str], seed: tuple[int, int], report: Callable[[int], None]
) -> dict:
    images, annotations = [], []
    for number in range(1, count + 1):
        image, shapes = draw_image(np.random.default_rng((*seed, number)), size, names)
        name = f"{number:06d}.png"
        encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        (folder / name).write_bytes(encoded.tobytes())
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for shape in shapes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CLASSES[shape.name][0],
                    "bbox": list(shape.box),
                    "area": int(shape.mask.sum()),
                    "iscrowd": 0,
                }
            )
        report(number)
    return {
        "info": {"description": f"synthetic shapes, seed {seed[0]}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": CLASSES[name][0], "name": name, "supercategory": "shape"} for name in names],
    }


def _make_room(out: Path, overwrite: bool) -> None:
    """Clears `out` of the shapes of an earlier call, or refuses."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a new or empty folder")
    if out.exists():
        remove_left_over(out, again=True)
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not found:
        return
    marker = out / _MARKER
    text = marker.read_text(encoding="utf-8", errors="replace") if marker.is_file() else ""
    is_ours = text in (_README, _UNFINISHED)
    others = [name for name in found if name not in (_MARKER, "annotations", "train", "val")]
    if not is_ours or others:
        raise UserError(f"{out}: holds other files ({(others or found)[0]}); name a new or empty folder")
    if text == _README and not overwrite:  # a call that was killed is repeated
        raise UserError(f"{out}: holds drawn shapes already; name another folder or add --overwrite")
    for name in ("annotations", "train", "val"):
        shutil.rmtree(out / name, ignore_errors=True)
