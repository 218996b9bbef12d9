"""Which files in a folder are drawings of `ttfnet predict`: they may be overwritten by it, and are never detected on.

detections.json names those of the last call under "images", and those of calls before it under "earlier_drawings". While a call is running,
and after a kill, `.drawings.jsonl` names those that detections.json may not have yet: a name is written there before its file is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, remove, remove_left_over, write_json, write_text
from ttfnet_tf.json_text import json_text, parse_json, read_json

RECORD = "detections.json"
_NAMES = ".drawings.jsonl"
_WRITING = 0.05  # fraction of the time that may be spent on detections.json while a call is running


def drawings_in(folder: Path) -> set[str]:
    """Names of the drawings in a folder, as far as its files say; empty where no call has written."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UserError):
        return names_of(read_json(folder / RECORD)) | _names_so_far(folder)
    return _names_so_far(folder)


def names_of(content: Any) -> set[str]:
    """Names of drawings in the content of a detections.json.

    Raises:
        KeyError, TypeError, ValueError: another command has written it.
    """
    names = {image["drawing"] for image in content["images"]} | set(content.get("earlier_drawings", ()))
    if not all(isinstance(name, str) for name in names):
        raise ValueError
    return names


class DrawingRecord:
    """Writes detections.json from the first image on, so that a kill loses nothing.

    Args:
        folder: of the drawings; must exist.
        earlier: names of drawings of earlier calls.
        about: what the file says beside the images.
    """

    def __init__(self, folder: Path, earlier: Iterable[str], about: Mapping[str, Any]):
        self.folder, self.earlier, self.about = folder, set(earlier), about
        self.images: list[Mapping[str, Any]] = []
        self._next = 0.0  # when the file is written again
        remove_left_over(folder)
        write_text(folder / _NAMES, "".join(f"{json_text(name)}\n" for name in sorted(self.earlier)))

    def add(self, image: Mapping[str, Any], failed: Sequence[Mapping[str, str]]) -> None:
        """Adds an image; call it before its drawing is written.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            with open(self.folder / _NAMES, "a", encoding="utf-8") as file:
                file.write(f"{json_text(image['drawing'])}\n")
        except OSError as error:
            raise cannot_write(self.folder / _NAMES, error) from None
        self.images.append(image)
        if (start := time.monotonic()) >= self._next:
            self._write({"unfinished": True}, failed)
            end = time.monotonic()
            self._next = end + (end - start) / _WRITING

    def finish(self, failed: Sequence[Mapping[str, str]]) -> None:
        """Writes detections.json for the last time."""
        self._write({}, failed)
        remove(self.folder / _NAMES)

    def _write(self, more: Mapping[str, Any], failed: Sequence[Mapping[str, str]]) -> None:
        names = self.earlier - {image["drawing"] for image in self.images}
        earlier = sorted(name for name in names if (self.folder / name).exists())
        content = {**self.about, **more, "images": self.images, "failed": failed}
        write_json(self.folder / RECORD, {**content, "earlier_drawings": earlier} if earlier else content)


def _names_so_far(folder: Path) -> set[str]:
    """The names of a call that is running or was killed; half a line at the end is none."""
    names = set()
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / _NAMES).read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and isinstance(name := parse_json(line), str):
                names.add(name)
    return names
