"""The output folder of a conversion: new, empty, or with the files of an earlier one, which its record lists."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, remove_left_over, sync_tree, write_json, write_text
from ttfnet_tf.formats.records import Progress
from ttfnet_tf.json_text import read_json

RECORD = "converted.json"  # what was written, and the ids that YOLO has no place for
_WRITER = "ttfnet data convert"


def check_output_folder(out: Path, overwrite: bool) -> list[Path]:
    """Files of an earlier conversion that are to be replaced.

    Raises:
        UserError: `out` is a file or holds other files, or holds a conversion and `overwrite` is not set.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a new or empty folder")
    for folder in [out, *(path for path in out.rglob("*") if path.is_dir() and not path.is_symlink())] if out.is_dir() else ():
        remove_left_over(folder, again=True)
    found = sorted(Path(parent, name) for parent, folders, names in os.walk(out) for name in [*names, *_links(parent, folders)])
    if not found:
        return []
    try:
        record = read_json(out / RECORD)
        ours = {out / name for name in record["files"] if record["written_by"] == _WRITER} | {out / RECORD}
        is_complete = record.get("complete", True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        ours, is_complete = set(), True
    others = [path for path in found if path not in ours]
    if others or not ours:
        raise UserError(f"{out}: holds other files ({others[0].relative_to(out)}); name a new or empty folder")
    if is_complete and not overwrite:  # one that was killed may go on
        raise UserError(f"{out}: holds a converted data set already; name another folder or add --overwrite")
    return found


def write_output(
    out: Path,
    *,
    old_files: Sequence[Path],
    about: dict,
    texts: dict[str, str],
    images: Sequence[tuple[str, Path]],
    copy: bool,
    progress: Progress,
) -> None:
    """Replaces `old_files` by the result.

    Args:
        out: the folder.
        old_files: of `check_output_folder`.
        about: keys of the record, besides who wrote it and its files.
        texts: text by file name.
        images: (name, image) of images to link or copy.
        copy: copies them.
        progress: shows progress over a list.

    Raises:
        UserError: a file cannot be written.
    """
    record = {"written_by": _WRITER, **about, "files": [*texts, *(name for name, _ in images)]}
    old_names = [path.relative_to(out).as_posix() for path in old_files]
    # First, so that the files of an interrupted call can be replaced, by the same command too.
    write_json(out / RECORD, {**record, "complete": False, "files": sorted({*record["files"], *old_names})})
    try:
        for path in old_files:
            if path != out / RECORD:
                path.unlink()
        for folder in {(out / name).parent for name in record["files"]}:
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in progress("writing", list(texts.items())):
            if name.endswith(".json"):
                write_text(out / name, text)
            else:  # many small ones; the record says when all are there
                (out / name).write_text(text, encoding="utf-8")
        for name, image in progress("images", images):
            place_image(out / name, image, copy)
    except OSError as error:
        raise cannot_write(Path(error.filename or out), error) from None
    sync_tree(out)
    write_json(out / RECORD, record)


def place_image(path: Path, image: Path, copy: bool) -> None:
    """A link to the image at `path`, or a copy where links are not wanted or not possible."""
    if not copy:
        try:
            path.symlink_to(image.resolve())
            return
        except OSError:  # file systems and accounts without links
            pass
    shutil.copyfile(image, path)


def _links(parent: str, folders: list[str]) -> list[str]:
    """Links to folders, which a walk does not enter."""
    return [name for name in folders if Path(parent, name).is_symlink()]
