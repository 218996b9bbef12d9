"""`ttfnet data convert`: from one format of annotations to another. docs/formats.md says what becomes of every box."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, write_json, write_text
from ttfnet_tf.formats.coco_files import coco_content, read_coco_files
from ttfnet_tf.formats.csv_boxes import read_csv
from ttfnet_tf.formats.records import DataSet, Entry, Problems, Split, Watch, unwatched
from ttfnet_tf.formats.voc import read_voc
from ttfnet_tf.formats.yolo import RECORD, data_yaml, read_yolo, yolo_line

READERS: dict[str, Callable[..., DataSet]] = {"voc": read_voc, "yolo": read_yolo, "csv": read_csv, "coco": read_coco_files}
TARGETS = ("coco", "yolo")
SKIPPED = "skipped.txt"


@dataclass(frozen=True)
class Report:
    """What a conversion did."""

    files: list[Path]  # annotation files, or data.yaml
    lines: list[str] = field(default_factory=list)  # for people


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
    watch: Watch = unwatched,
) -> Report:
    """Reads `source` and writes it anew into `out`; nothing of the source is changed.

    COCO: `annotations/<split>.json`, file names relative to the folder of the images, which stay where they are. YOLO: `data.yaml`,
    `labels/<split>/*.txt` and links to the images in `images/<split>`.

    Args:
        source: file or folder.
        out: folder, new or empty.
        from_format: key of READERS; default what the source looks like.
        to_format: one of TARGETS; default coco, from COCO yolo.
        images: folder of the images, where it is not where the format has it.
        split: the one to take, or the name for what has none.
        classes: their order.
        skip_broken: leave images out whose annotations have mistakes, and list the mistakes in `skipped.txt`.
        copy: into YOLO, copy images instead of linking them.
        overwrite: replace what an earlier conversion wrote into `out`.
        watch: shows progress over a list.

    Raises:
        UserError: the source is missing, unknown or has mistakes, nothing is left, or `out` holds other files or cannot be written.
    """
    source, out = Path(source), Path(out)
    images = Path(images) if images is not None else None
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if images is not None and not images.is_dir():
        raise UserError(f"--images {images}: is not a folder")
    if classes is not None and (not all(classes) or len(set(classes)) < len(classes)):
        raise UserError(f"--classes {','.join(classes)}: must be different names, separated by commas")
    from_format = from_format or guess_format(source)
    to_format = to_format or ("yolo" if from_format == "coco" else "coco")
    if from_format == to_format:
        raise UserError(f"{source}: is {from_format} already; choose another format with --to")
    for path in (source, images):
        if path is not None and path.resolve().is_relative_to(out.resolve()):
            raise UserError(f"{out}: holds {path}, which is to be read; name another folder for the result")
    old_files = _check_room(out, overwrite)

    problems = Problems()
    data = READERS[from_format](source, images=images, split=split, classes=classes, problems=problems, watch=watch)
    problems.settle(skip=skip_broken)
    data.splits = [part for part in data.splits if part.entries]
    if not data.splits:
        raise UserError(f"{problems.lines[0] if problems.lines else source}; no image is left to convert")
    if not data.categories:
        raise UserError(f"{source}: holds no object, so that its classes are unknown; name them with --classes a,b,c")
    _note_borders(data)
    if to_format == "coco":
        texts, links = _as_coco(data, f"converted from {from_format}"), []
        written = [Path(name) for name in texts]
    else:
        texts, links = _as_yolo(data)
        written = [Path("data.yaml")]
    if problems.lines:
        texts[SKIPPED] = "\n".join(problems.lines) + "\n"
    record = {
        "written_by": "ttfnet data convert",
        "source": str(source),
        "from": from_format,
        "to": to_format,
        "ids": _ids(data, to_format),
        "files": [*texts, *(name for name, _ in links)],
    }
    _write(out, old_files, record, texts, links, copy, watch)
    return Report([out / name for name in written], _summary(out, data, texts, links, problems, to_format))


def guess_format(source: Path) -> str:
    """Key of READERS that a file or folder looks like.

    Raises:
        UserError: it looks like none of them, or like several.
    """
    by_suffix = {".csv": "csv", ".tsv": "csv", ".json": "coco", ".yaml": "yolo", ".yml": "yolo"}
    if source.is_file():
        if source.suffix.lower() not in by_suffix:
            raise UserError(f"{source}: is of no known kind; name its format with --from {'|'.join(READERS)}")
        return by_suffix[source.suffix.lower()]
    found = []
    if any((source / name).is_dir() for name in ("Annotations", "ImageSets")) or next(source.rglob("*.xml"), None):
        found.append("voc")
    if any(next(source.glob(pattern), None) for pattern in ("*.yaml", "*.yml", "labels", "*/labels", "classes.txt", "obj.names")):
        found.append("yolo")
    if any(next(source.glob(pattern), None) for pattern in ("annotations/*.json", "*/_annotations.coco.json")):
        found.append("coco")
    if not found and next(source.glob("*.csv"), None):
        raise UserError(f"{source}: holds CSV files; name one of them as SOURCE, e.g. {min(source.glob('*.csv'))}")
    if not found:  # weaker signs
        found = [kind for kind, pattern in (("coco", "*.json"), ("yolo", "*.txt")) if next(source.glob(pattern), None)]
    if len(found) != 1:
        looks = "like " + " and ".join(found) if found else "like no known format"
        raise UserError(f"{source}: looks {looks}; name its format with --from {'|'.join(READERS)}")
    return found[0]


def _check_room(out: Path, overwrite: bool) -> list[Path]:
    """Files of an earlier conversion that are to go; refuses a folder with anything else in it."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a new or empty folder")
    found = sorted(Path(parent, name) for parent, folders, names in os.walk(out) for name in [*names, *_links(parent, folders)])
    if not found:
        return []
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        ours = {out / name for name in record["files"] if record["written_by"] == "ttfnet data convert"} | {out / RECORD}
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    others = [path for path in found if path not in ours]
    if others or not ours:
        raise UserError(f"{out}: holds other files ({others[0].relative_to(out)}); name a new or empty folder")
    if not overwrite:
        raise UserError(f"{out}: holds a converted data set already; name another folder or add --overwrite")
    return found


def _links(parent: str, folders: list[str]) -> list[str]:
    """Links to folders, which a walk does not enter."""
    return [name for name in folders if Path(parent, name).is_symlink()]


def _as_coco(data: DataSet, description: str) -> dict[str, str]:
    """Text by file name."""
    return {
        f"annotations/{_file_name(split.name)}.json": json.dumps(coco_content(split, data.categories, description), ensure_ascii=False)
        for split in data.splits
    }


def _as_yolo(data: DataSet) -> tuple[dict[str, str], list[tuple[str, Path]]]:
    """Text by file name, and (name, image) of the images that are there."""
    number_of = {category.label: number for number, category in enumerate(data.categories)}
    texts = {"data.yaml": data_yaml([category.name for category in data.categories], {s.name: _yolo_folder(s) for s in data.splits})}
    links = []
    for split in data.splits:
        for entry in split.entries:
            image = f"{_yolo_folder(split)}/{_yolo_name(entry, split)}"
            label = str(PurePosixPath(f"labels{image.removeprefix('images')}").with_suffix(".txt"))
            if label in texts:
                raise UserError(f"{entry.path}: would share the label file {label} with another image; rename one of them")
            lines = []
            for box in entry.boxes:
                if box.extra.get("iscrowd") or box.extra.get("ignore"):
                    data.notes["boxes marked crowd (as difficult ones of VOC) or ignore are left out, as YOLO knows no such marks"] += 1
                    continue
                line, is_clipped = yolo_line(number_of[box.label], box.bbox, entry.size)
                data.notes["boxes are clipped to their image, as YOLO could not hold them"] += is_clipped
                if line is None:
                    data.notes["boxes without area inside their image are left out"] += 1
                else:
                    lines.append(line + "\n")
            texts[label] = "".join(lines)
            if entry.path.is_file():
                links.append((image, entry.path))
    return texts, links


def _yolo_folder(split: Split) -> str:
    return f"images/{_file_name(split.name)}"


def _yolo_name(entry: Entry, split: Split) -> str:
    """File name below the folder of the split."""
    if not entry.path.is_relative_to(split.root):
        return entry.path.name
    name = PurePosixPath(entry.path.relative_to(split.root).as_posix())
    return str(PurePosixPath(*(part for part in name.parts if part != "..")))


def _file_name(split: str) -> str:
    if not split or split != Path(split).name or split.startswith("."):
        raise UserError(f"--split {split}: must be a plain name such as train")
    return split


def _ids(data: DataSet, to_format: str) -> dict:
    """Ids that YOLO's files cannot hold: `categories` by class number, `images` by file."""
    if to_format != "yolo":
        return {}
    return {
        "categories": [category.id for category in data.categories],
        "images": {f"{_yolo_folder(split)}/{_yolo_name(entry, split)}": entry.id for split in data.splits for entry in split.entries},
    }


def _note_borders(data: DataSet) -> None:
    outside = without_area = 0
    for entry in {id(entry): entry for split in data.splits for entry in split.entries}.values():
        height, width = entry.size
        for box in entry.boxes:
            x, y, w, h = box.bbox
            without_area += w <= 0 or h <= 0
            # Less than half a pixel is rounding.
            outside += x < -0.5 or y < -0.5 or x + w > width + 0.5 or y + h > height + 0.5
    data.notes["boxes reach out of their image; they are kept, training clips them"] += outside
    data.notes["boxes have no area; training leaves them out"] += without_area


def _write(out: Path, old_files: list[Path], record: dict, texts: dict[str, str], links: list, copy: bool, watch: Watch) -> None:
    try:
        for path in old_files:
            path.unlink()
        write_json(out / RECORD, record)  # first: what a broken-off call left can be replaced then
        for folder in {(out / name).parent for name in record["files"]}:
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in watch("writing", list(texts.items())):
            if name.endswith(".json"):
                write_text(out / name, text)
            else:
                (out / name).write_text(text, encoding="utf-8")
        for name, image in watch("images", links):
            _place(out / name, image, copy)
    except OSError as error:
        raise cannot_write(Path(error.filename or out), error) from None


def _place(path: Path, image: Path, copy: bool) -> None:
    if not copy:
        try:
            path.symlink_to(image.resolve())
            return
        except OSError:  # file systems and accounts without links
            pass
    shutil.copyfile(image, path)


def _summary(out: Path, data: DataSet, texts, links, problems: Problems, to_format: str) -> list[str]:
    lines = []
    for split in data.splits:
        empty = sum(not entry.boxes for entry in split.entries)
        boxes = sum(len(entry.boxes) for entry in split.entries)
        target = f"annotations/{split.name}.json" if to_format == "coco" else f"labels/{split.name}"
        lines.append(f"{out / target}: {len(split.entries)} images ({empty} without a box), {boxes} boxes")
    names = [f"{category.id} {category.name}" for category in data.categories]
    lines.append(f"{len(names)} classes: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
    lines += _notes(data.notes)
    if problems.lines:
        lines.append(f"left out for {len(problems)} mistakes, listed in {out / SKIPPED}; the first: {problems.lines[0]}")
    if to_format == "coco":
        for split in data.splits:
            key = "data.train" if split.name.startswith("train") else "data.val"
            lines.append(f"settings: {key}.annotations={out / 'annotations' / split.name}.json {key}.images={split.root}")
    elif not links:
        lines.append(f"no image was found, so {out / 'images'} is empty; --images DIR names their folder")
    return lines


def _notes(notes: Counter[str]) -> list[str]:
    return [f"{count} {text}" for text, count in notes.items() if count]
