"""`ttfnet predict --crops FOLDER`: every detection as an image of its own, FOLDER/<class>/<image>_<number>.

`crops.jsonl` in the folder names each crop with its image, box, score and class, before the crop is written. So a later call knows which
files it may overwrite, and takes none of them as an image to detect on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file, remove_left_over, write_text
from ttfnet_tf.inference.detections_json import make_folder
from ttfnet_tf.inference.drawings import CROPS, append_text, crops_in
from ttfnet_tf.json_text import json_text

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")


class Crops:
    """Writes crops into a folder.

    Args:
        folder: made if missing.
        class_names, category_ids: of the detector.

    Raises:
        UserError: the folder cannot be made, or holds a crops.jsonl of another program.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], category_ids: Sequence[int]):
        self.folder = folder
        earlier = check_crops(folder)
        make_folder(folder, "--crops")
        remove_left_over(folder)
        self._earlier = {name for name in earlier if os.path.lexists(folder / name)}
        self._folder_of = dict(zip(category_ids, _folder_names(class_names, category_ids)))
        self._lines: list[str] = []
        self._written: set[str] = set()
        write_text(folder / CROPS, self._earlier_lines())

    def add(self, image: np.ndarray, file: str, detections: Sequence[dict[str, Any]], name: str, **more: Any) -> None:
        """Writes the crops of one image.

        Args:
            image: [H, W, 3] uint8 RGB.
            file: name of the image or video.
            detections: of `Detections.to_json`; a crop reaches from one rounded corner of its box to the other.
            name: what the names of the crops begin with; ".jpg" at its end makes them JPEG, else they are PNG.
            more: for the lines in crops.jsonl, such as the frame of a video.

        Raises:
            UserError: the folder cannot be written.
        """
        suffix = ".jpg" if Path(name).suffix.lower() in _JPEG else ".png"
        for number, one in enumerate(detections, start=1):
            pixels = _cut(image, one["box"])
            if not pixels.size:
                continue
            crop = self._free_name(f"{self._folder_of[one['class_id']]}/{Path(name).stem}_{number}", suffix)
            line = json_text({"crop": crop, "file": file, **more, **one}) + "\n"
            append_text(self.folder / CROPS, line)
            self._lines.append(line)
            with new_file(self.folder / crop, sync=False) as target:
                Image.fromarray(np.ascontiguousarray(pixels)).save(target, format="JPEG" if suffix == ".jpg" else "PNG", quality=95)

    def finish(self) -> None:
        """Writes crops.jsonl for the last time: crops of earlier calls stay in it if their files are there and not overwritten."""
        self._earlier -= self._written
        write_text(self.folder / CROPS, self._earlier_lines() + "".join(self._lines))

    def _earlier_lines(self) -> str:
        return "".join(json_text({"crop": name, "earlier": True}) + "\n" for name in sorted(self._earlier))

    def _free_name(self, start: str, suffix: str) -> str:
        name, number = f"{start}{suffix}", 1
        while name in self._written or (name not in self._earlier and os.path.lexists(self.folder / name)):
            number += 1
            name = f"{start}_{number}{suffix}"
        self._written.add(name)
        return name


def check_crops(folder: Path) -> set[str]:
    """Names of the crops that earlier calls have written into a folder.

    Raises:
        UserError: its crops.jsonl is of another program.
    """
    names = crops_in(folder)
    if names is None:
        raise UserError(f"{folder / CROPS}: exists and was not written by ttfnet predict; name another folder with --crops")
    return names


def _cut(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The pixels that a box of inclusive corners covers, as far as it lies in the image."""
    height, width = image.shape[:2]
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[2]) + 1), min(height, round(box[3]) + 1)
    return image[top : max(top, bottom), left : max(left, right)]


def _folder_names(class_names: Sequence[str], category_ids: Sequence[int]) -> list[str]:
    """A folder name for each class: its name without what a file system may refuse, and its id where two would be the same."""
    names: list[str] = []
    for name, number in zip(class_names, category_ids):
        plain = re.sub(r"[^\w. -]", "_", name).strip(" .")[:60] or f"class_{number}"
        taken = plain.casefold() in {one.casefold() for one in names}
        names.append(f"{plain}_{number}" if taken else plain)
    return names
