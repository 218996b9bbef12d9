"""The copy of an annotation file that `--fix` works on, with a log of every change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ttfnet_tf.doctor.check import Split
from ttfnet_tf.doctor.findings import Findings, Place
from ttfnet_tf.doctor.image_files import ImageFacts
from ttfnet_tf.json_text import json_text


class Draft:
    """Annotations while they are fixed. Positions of entries stay valid until `settle`.

    Args:
        split: checked; not changed.

    Attributes:
        content: the annotations as fixed so far.
        facts: what the image files hold, by position in 'images'; of the content as it was when they were last opened.
        log: one entry for each change: action, code, section, entry (as it was) and, for a changed one, `to`.
    """

    def __init__(self, split: Split):
        self.split = split
        self.content: dict[str, Any] = {name: list(part) if isinstance(part, list) else part for name, part in split.content.items()}
        self.log: list[dict] = []
        self._code = ""  # of the finding whose rule is running
        self._gone: dict[str, set[int]] = {}
        self._index: dict[str, dict[str, list[int]]] = {}
        self._ids: dict[str, set[int]] = {}
        self._highest: dict[str, int] = {}
        self.facts: dict[int, ImageFacts] = {}

    def apply_all(self, rules: Rules, findings: Findings) -> None:
        """Runs each rule on all places of its finding where the entry still exists, then `settle`s.

        Args:
            rules: code of a finding -> rule.
            findings: of the content as it is.
        """
        for code, rule in rules.items():
            self._code = code
            for place in findings.places(code):
                if place.position < 0 or self.exists(place.section, place.position):
                    rule(self, place)
        self.settle()

    def settle(self) -> None:
        """Takes removed entries out; positions of earlier findings are invalid afterwards."""
        for section, gone in self._gone.items():
            self.content[section] = [entry for position, entry in enumerate(self.content[section]) if position not in gone]
        self._gone, self._index, self._ids = {}, {}, {}

    def entry(self, place: Place) -> Any:
        return self.content[place.section][place.position]

    def exists(self, section: str, position: int) -> bool:
        return position not in self._gone.get(section, ())

    def remove(self, section: str, position: int) -> None:
        gone = self._gone.setdefault(section, set())
        if position not in gone:
            gone.add(position)
            self.log.append({"action": "removed", "code": self._code, "section": section, "entry": self.content[section][position]})

    def change(self, section: str, position: int, **keys) -> None:
        before = self.content[section][position]
        self.content[section][position] = {**before, **keys}
        self.log.append({"action": "changed", "code": self._code, "section": section, "entry": before, "to": keys})

    def drop_image(self, position: int) -> None:
        """Removes an image and its annotations."""
        identity = self.content["images"][position].get("id")
        self.remove("images", position)
        for annotation in self.annotations_of("image_id", identity):
            self.remove("annotations", annotation)

    def annotations_of(self, key: str, identity: Any) -> list[int]:
        """Positions of the annotations whose `key` ("image_id" or "category_id") was `identity` at the last `settle`."""
        if key not in self._index:
            index = self._index[key] = {}
            for position, annotation in enumerate(self.content["annotations"]):
                if isinstance(annotation, dict):
                    index.setdefault(json_text(annotation.get(key)), []).append(position)
        return [position for position in self._index[key].get(json_text(identity), []) if self.exists("annotations", position)]

    def size_of(self, annotation: dict) -> tuple[float, float]:
        """(height, width) of the image of an annotation, as stated.

        Raises:
            KeyError: there is no such image.
        """
        if "sizes" not in self._index:
            self._index["sizes"] = {json_text(one["id"]): [one.get("height"), one.get("width")] for one in self.content["images"]}
        height, width = self._index["sizes"][json_text(annotation.get("image_id"))]
        return height, width

    def facts_of(self, place: Place) -> ImageFacts:
        """What the file of an image holds. Before the next `settle` only."""
        return self.facts[place.position]

    def new_id(self, section: str, wanted: int = -1) -> int:
        """`wanted` if it is 0 or more and free, else one above all."""
        if section not in self._ids:
            ids = (one.get("id") for one in self.content[section] if isinstance(one, dict))
            self._ids[section] = {one for one in ids if type(one) is int} | {0}
            self._highest[section] = max(self._ids[section])
        if wanted < 0 or wanted in self._ids[section]:
            wanted = self._highest[section] + 1
        self._ids[section].add(wanted)
        self._highest[section] = max(self._highest[section], wanted)
        return wanted


Rules = Mapping[str, Callable[[Draft, Place], None]]
