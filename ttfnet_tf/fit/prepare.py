"""From what the user names to two COCO files: converted where it is another format, and split where there is no validation set.

Everything is written below the work directory; the data of the user stay as they are, and images are not copied.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from ttfnet_tf.data.coco_file import read_bytes, read_content
from ttfnet_tf.data.split import split_content, validation_fraction
from ttfnet_tf.doctor.duplicate_images import pairs_of_copies
from ttfnet_tf.doctor.image_files import inspect_images
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.formats.coco_reader import find_coco_files, find_coco_images
from ttfnet_tf.formats.convert import SKIPPED, convert
from ttfnet_tf.formats.detect_format import detect_format
from ttfnet_tf.formats.records import Progress, no_progress

_TRIED = 32  # images that say how long all would take
_FOR_COPIES = 0.05  # of the whole time, for looking at every image


@dataclass(frozen=True)
class Files:
    """One annotated set of images."""

    annotations: Path
    images: Path  # folder that the file names in it are relative to


@dataclass
class Prepared:
    """Two sets in COCO format, and what was done for them."""

    train: Files
    val: Files
    lines: list[str] = field(default_factory=list)


def prepare(
    source: Path,
    folder: Path,
    *,
    from_format: str | None = None,
    images: Path | None = None,
    seed: int = 0,
    seconds: float = float("inf"),
    progress: Progress = no_progress,
) -> Prepared:
    """Finds or makes a training and a validation set.

    Args:
        source: a file or folder of a format that `ttfnet data convert` reads.
        folder: for what is written.
        from_format: of the source; default detected.
        images: folder of the images, if they are not in their usual place.
        seed: of a split.
        seconds: of the whole run; a small part of it is spent on finding copies of images.
        progress: shows progress over a list.

    Raises:
        UserError: the source is missing, unknown or has nothing to train on.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; name a COCO file, a data.yaml, a CSV file or a folder with one of them")
    source = _unwrapped(source, folder)
    from_format = from_format or detect_format(source)
    lines = []
    if from_format == "coco":
        found = {name: Files(path, _images_of(path, name, images)) for name, path in find_coco_files(source).items()}
    else:
        report = convert(
            source,
            folder / "converted",
            from_format=from_format,
            to_format="coco",
            images=images,
            skip_broken=True,
            overwrite=True,
            progress=progress,
        )
        found = {path.stem: Files(path, root) for path, root in zip(report.files, report.roots)}
        lines = [f"data: {source} is {from_format}, converted to {folder / 'converted'}"]
        lines += [f"data: {line}" for line in report.lines if SKIPPED in line]
    train, val = _roles(found, source)
    if val is not None:
        others = sorted(set(found) - {name for name, files in found.items() if files in (train, val)})
        unused = f"; not used: {', '.join(others)}" if others else ""
        return Prepared(train, val, [*lines, f"data: trains on {train.annotations}, validates on {val.annotations}{unused}"])
    prepared = _split(train, folder, seed=seed, seconds=seconds, progress=progress)
    return Prepared(prepared.train, prepared.val, [*lines, *prepared.lines])


def _unwrapped(source: Path, written: Path) -> Path:
    """The folder inside, of an archive that was unpacked into a folder of its own; the folder that is written may lie beside it."""
    written = written.resolve()
    for _ in range(3):
        names = [path for path in source.iterdir() if not path.name.startswith(".")] if source.is_dir() else []
        inside = [path for path in names if not written.is_relative_to(path.resolve())]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in ("annotations", "labels", "images"):
            break
        source = inside[0]
    return source


def _images_of(path: Path, split: str, images: Path | None) -> Path:
    if images is not None:
        return images
    content = read_content(path, read_bytes(path))
    if (root := find_coco_images(path, split, content["images"])) is None:
        first = content["images"][0]["file_name"]
        raise UserError(f"{path}: its images, such as {first}, are not beside it; name their folder with --images")
    return Path(os.path.relpath(root)) if not path.is_absolute() else root


def _roles(found: dict[str, Files], source: Path) -> tuple[Files, Files | None]:
    """Training and validation set by the names of splits; a test set is not used."""
    train = next((name for name in found if name.startswith("train")), None)
    val = next((name for name in found if name.startswith("val")), None)
    if train is None and len(found) == 1:
        return next(iter(found.values())), None
    if train is None:
        raise UserError(f"{source}: has the splits {', '.join(found)}, of which none is called train; name the file to train on")
    return found[train], None if val is None else found[val]


def _split(files: Files, folder: Path, *, seed: int, seconds: float, progress: Progress) -> Prepared:
    """A training and a validation part of one set, written as COCO files."""
    content = read_content(files.annotations, read_bytes(files.annotations))
    total = len(content["images"])
    if total < 2:
        raise UserError(f"{files.annotations}: holds one image; at least two are needed, one of them for validation")
    copies = _copies(content["images"], files.images, seconds, progress)
    fraction = validation_fraction(total)
    parts = split_content(content, [1 - fraction, fraction], seed=seed, copies=copies or ())
    names = ("train", "val")
    for name, part in zip(names, parts):
        if not part["images"]:
            raise UserError(f"{files.annotations}: its images are copies of each other, so that none is left for validation; add others")
        write_json(folder / f"{name}.json", part)
    about = "not looked for, because that takes too long" if copies is None else f"{len(copies)} kept on one side"
    line = (
        f"data: no validation set, so {total} images are split by seed {seed} and stratified by class into {len(parts[0]['images'])} for "
        f"training and {len(parts[1]['images'])} for validation; near-duplicates: {about}; written to {folder}"
    )
    train, val = (Files(folder / f"{name}.json", files.images) for name in names)
    return Prepared(train, val, [line])


def _copies(entries: list[dict], root: Path, seconds: float, progress: Progress) -> list[tuple[int, int]] | None:
    """Pairs of ids of images that are copies or nearly; None where looking at all images takes too long."""
    paths = [root / entry["file_name"] for entry in entries]
    workers, start = os.cpu_count() or 1, time.monotonic()
    facts = inspect_images(paths[:_TRIED], workers=workers)
    if (time.monotonic() - start) / len(facts) * len(paths) > _FOR_COPIES * seconds:
        return None
    chunks = [paths[place : place + _TRIED] for place in range(_TRIED, len(paths), _TRIED)]
    for chunk in progress("images", chunks):
        facts += inspect_images(chunk, workers=workers)
    return [(entries[one]["id"], entries[other]["id"]) for one, other in pairs_of_copies(facts)]
