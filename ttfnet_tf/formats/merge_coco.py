"""`ttfnet data merge`: several COCO files, each with its folder of images, become one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttfnet_tf.data.coco_file import read_bytes, read_content
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.json_text import json_text
from ttfnet_tf.outputs import refuse_to_overwrite, written_by
from ttfnet_tf.plain_text import printable

WRITER = "ttfnet data merge"


@dataclass(frozen=True)
class MergeReport:
    """What was written."""

    images: Path  # the folder that file names are relative to
    lines: list[str] = field(default_factory=list)  # to print


def merge_coco(sources: Sequence[tuple[Path, Path]], out: Path, *, overwrite: bool = False) -> MergeReport:
    """Writes one COCO file with the images and annotations of all.

    Classes are the same where their names are; those of the first file keep their ids. Images and annotations are numbered from 1;
    `old_id` and `old_file` keep where they come from. File names are relative to the folder above all folders of images, so that images
    of the same name in two folders differ. An image that two files list becomes one with the annotations of both.

    Args:
        sources: (COCO instances JSON, folder of its images).
        out: the file to write.
        overwrite: also replaces a file that this command has not written.

    Raises:
        UserError: a file is not COCO, a folder is missing, or two files give different sizes to one image.
    """
    refuse_to_overwrite(out, WRITER, inputs=[file for file, _ in sources], overwrite=overwrite)
    for file, folder in sources:
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; name the folder of the images of {file}")
    contents = [read_content(file, read_bytes(file)) for file, _ in sources]
    folders = [Path(os.path.abspath(folder)) for _, folder in sources]
    try:
        root = Path(os.path.commonpath(folders))
    except ValueError:  # two drives of Windows
        raise UserError(f"{sources[0][1]}: has no folder above it that also holds the other images; copy them to one drive") from None
    ids = _category_ids(contents, [file for file, _ in sources])
    merged = _Merged(root)
    for (file, _), folder, content in zip(sources, folders, contents):
        merged.add(file, folder, content, ids)
    categories = [{"id": number, "name": name, "supercategory": above} for name, (number, above) in ids.items()]
    about = f"{written_by(WRITER)}: {', '.join(file.name for file, _ in sources)}"
    text = {"info": {"description": about}, "images": merged.images, "annotations": merged.annotations, "categories": categories}
    write_text(out, json_text(text))
    return MergeReport(root, _lines(out, root, merged, sources, contents))


def _category_ids(contents: Sequence[Mapping[str, Any]], files: Sequence[Path]) -> dict[str, tuple[int, str]]:
    """Class name -> (id, supercategory)."""
    ids: dict[str, tuple[int, str]] = {}
    for file, content in zip(files, contents):
        names = [category["name"] for category in content["categories"]]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"{file}: has two categories called '{twice}'; give one of them another name")
        for category in content["categories"]:
            used = {number for number, _ in ids.values()}
            is_first = content is contents[0]
            number = category["id"] if is_first or category["id"] not in used else max(used) + 1
            ids.setdefault(category["name"], (number, category.get("supercategory") or ""))
    return ids


class _Merged:
    """Images and annotations of the result."""

    def __init__(self, root: Path):
        self._root = root
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.again = 0  # images that were there already
        self._of_path: dict[str, dict[str, Any]] = {}

    def add(self, file: Path, folder: Path, content: Mapping[str, Any], ids: Mapping[str, tuple[int, str]]) -> None:
        """Takes the content of a file, whose images lie in `folder`."""
        new_category = {category["id"]: ids[category["name"]][0] for category in content["categories"]}
        new_image = {}
        for image in content["images"]:
            path = os.path.normpath(folder / image["file_name"])
            known = self._of_path.get(path)
            if known is None:
                name = Path(os.path.relpath(path, self._root)).as_posix()
                more = {key: value for key, value in image.items() if key != "license"}  # licenses are numbered in each file
                known = {**more, "id": len(self.images) + 1, "file_name": name, "old_id": image["id"], "old_file": file.name}
                self.images.append(known)
                self._of_path[path] = known
            elif (known["width"], known["height"]) != (image["width"], image["height"]):
                sizes = f"{image['width']} x {image['height']} here and {known['width']} x {known['height']} in {known['old_file']}"
                raise UserError(f"{file}: image id {image['id']} ({image['file_name']}) is {sizes}; fix one of them")
            else:
                self.again += 1
            new_image[image["id"]] = known["id"]
        for one in content["annotations"]:
            image, category = new_image[one["image_id"]], new_category[one["category_id"]]
            numbers = {"id": len(self.annotations) + 1, "image_id": image, "category_id": category, "old_id": one["id"]}
            self.annotations.append({**one, **numbers})


def _lines(
    out: Path, root: Path, merged: _Merged, sources: Sequence[tuple[Path, Path]], contents: Sequence[Mapping[str, Any]]
) -> list[str]:
    lines = [f"{out}: {len(merged.images)} images, {len(merged.annotations)} boxes"]
    if merged.again:
        lines.append(f"{merged.again} images are in more than one file; each is one image with all its boxes")
    names = [{category["name"] for category in content["categories"]} for content in contents]
    everything = set().union(*names)
    for (file, _), here in zip(sources, names):
        lacking = sorted(everything - here)
        if lacking:
            shown = ", ".join(printable(name)[:60] for name in lacking[:5]) + (" and others" if len(lacking) > 5 else "")
            lines.append(f"{file} does not have the classes {shown}: objects of them in its images would be taught as background")
    lines.append(f"settings: data.train.annotations={out} data.train.images={root}")
    return lines
