"""`ttfnet data convert`: reads annotations of one format and writes them in another. docs/formats.md has the rules for boxes and ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttfnet_tf.data.file_names import file_name_fault
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.coco_reader import read_coco_files
from ttfnet_tf.formats.coco_writer import coco_files
from ttfnet_tf.formats.csv_reader import read_csv
from ttfnet_tf.formats.cvat_reader import read_cvat
from ttfnet_tf.formats.detect_format import detect_format
from ttfnet_tf.formats.kitti_reader import read_kitti
from ttfnet_tf.formats.label_studio_reader import read_label_studio
from ttfnet_tf.formats.labelme_reader import read_labelme
from ttfnet_tf.formats.output_folder import check_output_folder, write_output
from ttfnet_tf.formats.records import DataSet, Problems, Progress, no_progress
from ttfnet_tf.formats.via_reader import read_via
from ttfnet_tf.formats.voc_reader import read_voc
from ttfnet_tf.formats.yolo_reader import read_yolo
from ttfnet_tf.formats.yolo_writer import DATA_YAML, yolo_files, yolo_ids
from ttfnet_tf.json_text import short_json
from ttfnet_tf.plain_text import printable

READERS: dict[str, Callable[..., DataSet]] = {
    "voc": read_voc,
    "yolo": read_yolo,
    "csv": read_csv,
    "coco": read_coco_files,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "labelstudio": read_label_studio,
    "via": read_via,
    "kitti": read_kitti,
}
SKIPPED = "skipped.txt"


@dataclass(frozen=True)
class Report:
    """The result of a conversion."""

    files: list[Path]  # annotation files, or data.yaml
    lines: list[str] = field(default_factory=list)  # to print
    roots: list[Path] = field(default_factory=list)  # folder of the images of each annotation file


def convert(
    source: str | Path,
    out: str | Path,
    *,
    from_format: str | None = None,
    to_format: str | None = None,
    images: str | Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    skip_broken: bool = False,
    copy: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """Converts `source` into `out`; the source is not changed.

    COCO: `annotations/<split>.json`, file names relative to the folder of the images, which stay in place. YOLO: `data.yaml`,
    `labels/<split>/*.txt` and links to the images in `images/<split>`.

    Args:
        source: file or folder.
        out: folder, new or empty.
        from_format: one of `detect_format.FORMATS`; default detected.
        to_format: "coco" or "yolo"; default coco, for a COCO source yolo.
        images: folder of the images, if they are not in their usual place.
        split: the one to convert, or the name for images without one.
        classes: class names in the order of their numbers.
        skip_broken: skip images whose annotations have mistakes, and list the mistakes in `skipped.txt`.
        copy: to YOLO, copy images instead of linking them.
        overwrite: replace the files of an earlier conversion in `out`.
        progress: shows progress over a list.

    Raises:
        UserError: the source is missing, unknown or has mistakes, nothing is left, or `out` holds other files or cannot be written.
    """
    source, out, images = Path(source), Path(out), None if images is None else Path(images)
    _check_arguments(source, images, classes)
    from_format = from_format or detect_format(source)
    to_format = to_format or ("yolo" if from_format == "coco" else "coco")
    _check_paths(source, out, images, from_format, to_format)
    old_files = check_output_folder(out, overwrite)

    problems = Problems()
    data = READERS[from_format](source, images=images, split=split, classes=classes, problems=problems, progress=progress)
    _check_names(data, problems)
    problems.raise_unless(skip_broken)
    _check_data(data, source, problems)
    _note_borders(data)
    if to_format == "coco":
        texts, linked, ids = coco_files(data, f"converted from {from_format}"), [], {}
        written = list(texts)
    else:
        (texts, linked), ids = yolo_files(data), yolo_ids(data)
        written = [DATA_YAML]
    if problems.lines:
        texts[SKIPPED] = "\n".join(problems.lines) + "\n"
    about = {"source": str(source), "from": from_format, "to": to_format, "ids": ids}
    write_output(out, old_files=old_files, about=about, texts=texts, images=linked, copy=copy, progress=progress)
    lines = _summary(out, data, problems, to_format, has_images=bool(linked))
    return Report([out / name for name in written], lines, [split.root for split in data.splits])


def _check_arguments(source: Path, images: Path | None, classes: Sequence[str] | None) -> None:
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if images is not None and not images.is_dir():
        raise UserError(f"--images {images}: is not a folder")
    if classes is not None and (not all(classes) or len(set(classes)) < len(classes)):
        raise UserError(f"--classes {','.join(classes)}: must be different names, separated by commas")


def _check_paths(source: Path, out: Path, images: Path | None, from_format: str, to_format: str) -> None:
    if from_format == to_format:
        raise UserError(f"{source}: is {from_format} already; choose another format with --to")
    for path in (source, images):
        if path is not None and path.resolve().is_relative_to(out.resolve()):
            raise UserError(f"{out}: holds {path}, which is the source; name another folder for the result")


def _check_names(data: DataSet, problems: Problems) -> None:
    """Takes out images whose names no file can have, or no JSON."""
    for split in data.splits:
        kept = []
        for image in split.images:
            fault = file_name_fault(image.path.as_posix())
            if fault:
                problems.lines.append(f"{split.root}: an image has a name that {fault}: {short_json(image.path.name)}")
            else:
                kept.append(image)
        split.images = kept


def _check_data(data: DataSet, source: Path, problems: Problems) -> None:
    """Removes empty splits; refuses a data set without images or classes, and names of splits that are not file names."""
    data.splits = [split for split in data.splits if split.images]
    if not data.splits:
        raise UserError(f"{problems.lines[0] if problems.lines else source}; no image is left to convert")
    if not data.categories:
        raise UserError(f"{source}: holds no object, so its classes are unknown; name them with --classes a,b,c")
    for split in data.splits:
        if not split.name or split.name != Path(split.name).name or split.name.startswith("."):
            raise UserError(f"--split {split.name}: must be a plain name such as train")


def _note_borders(data: DataSet) -> None:
    outside = without_area = 0
    for image in {id(image): image for split in data.splits for image in split.images}.values():
        height, width = image.size
        for box in image.boxes:
            x, y, w, h = box.bbox
            without_area += w <= 0 or h <= 0
            # Less than half a pixel is rounding.
            outside += x < -0.5 or y < -0.5 or x + w > width + 0.5 or y + h > height + 0.5
    data.notes["boxes reach beyond their image; they are kept, training clips them"] += outside
    data.notes["boxes have no area; training drops them"] += without_area


def _summary(out: Path, data: DataSet, problems: Problems, to_format: str, *, has_images: bool) -> list[str]:
    lines = []
    for split in data.splits:
        empty = sum(not image.boxes for image in split.images)
        boxes = sum(len(image.boxes) for image in split.images)
        target = f"annotations/{split.name}.json" if to_format == "coco" else f"labels/{split.name}"
        lines.append(f"{out / target}: {len(split.images)} images ({empty} without a box), {boxes} boxes")
    names = [f"{category.id} {printable(category.name)[:60]}" for category in data.categories]
    lines.append(f"{len(names)} classes: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
    lines += [f"{count} {text}" for text, count in data.notes.items() if count]
    if problems.lines:
        lines.append(f"skipped images with {len(problems)} mistakes, listed in {out / SKIPPED}; the first: {problems.lines[0]}")
    if to_format == "coco":
        for split in data.splits:
            key = "data.train" if split.name.startswith("train") else "data.val"
            lines.append(f"settings: {key}.annotations={out / 'annotations' / split.name}.json {key}.images={split.root}")
    elif not has_images:
        lines.append(f"no image was found, so {out / 'images'} is empty; name their folder with --images")
    return lines
