"""Names of image files in annotations: which cannot be one, and under which name a file that is not there lies in its folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path

_LONGEST_PART, _LONGEST = 255, 4096  # bytes of a part between two /, and of a path, that file systems take
_UPLOAD = re.compile(r"[0-9a-f]{4,32}-")  # what Label Studio puts before the name of an uploaded file


def file_name_fault(name: str) -> str | None:
    """Why no file can have this name; None if one can."""
    if len(name) <= _LONGEST_PART and name.isascii() and "\0" not in name:  # nearly all, and there may be 100,000
        return None
    if "\0" in name:
        return "has a NUL character"
    try:
        data = name.encode("utf-8")
    except UnicodeEncodeError:  # of a file in another encoding
        return "is not UTF-8 text"
    if len(data) > _LONGEST or any(len(part) > _LONGEST_PART for part in data.split(b"/")):
        return "is longer than a file name can be"
    return None


class FolderIndex:
    """The files below a folder, found by names that are nearly theirs.

    Args:
        folder: of the images; it is looked through at the first question.
    """

    def __init__(self, folder: str | Path):
        self._folder = str(folder)
        self._by_path: dict[str, list[str]] | None = None
        self._by_name: dict[str, list[str]] = {}

    def find(self, name: str) -> tuple[str, str] | None:
        """The one file that an annotation must mean by a name that is not there.

        Args:
            name: relative to the folder.

        Returns:
            The file's name relative to the folder, and how the two differ; None if no file or more than one is near.
        """
        self._read()
        turned = name.replace("\\", "/")
        exact = os.path.normpath(turned)
        tries = [(self._by_path, _plain(exact), self._difference(name, turned))]
        base = exact.rpartition("/")[2]
        tries.append((self._by_name, _plain(base), "it lies in another folder"))
        if _UPLOAD.match(base):
            tries.append((self._by_name, _plain(_UPLOAD.sub("", base, count=1)), "without what an upload has put before its name"))
        for table, key, why in tries:
            found = table.get(key, []) if key else []
            if len(found) > 1 and table is self._by_path and exact in found:
                found = [exact]
            if len(found) == 1:
                return found[0], why
            if found:
                return None
        return None

    def _difference(self, name: str, turned: str) -> str:
        found = self._by_path.get(_plain(os.path.normpath(turned)), [""])[0]
        if turned != name:
            return "its name has \\ where this system has /"
        if unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", name):
            return "the same letters, composed in one name and decomposed in the other"
        return "upper and lower case differ"

    def _read(self) -> None:
        if self._by_path is not None:
            return
        by_path, by_name = defaultdict(list), defaultdict(list)
        for parent, _, names in os.walk(self._folder):
            for name in names:
                if not name.startswith("._"):
                    path = os.path.relpath(os.path.join(parent, name), self._folder).replace(os.sep, "/")
                    by_path[_plain(path)].append(path)
                    by_name[_plain(name)].append(path)
        self._by_path, self._by_name = dict(by_path), dict(by_name)


def _plain(name: str) -> str:
    """The name without case, and with its letters composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
