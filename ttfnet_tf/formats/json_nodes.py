"""Values of a JSON file that know their place in it, so that every mistake can name the key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttfnet_tf.formats.records import Problems
from ttfnet_tf.json_text import NotJson, is_integer, is_number, read_json, short_json

_PLAIN_KEY = re.compile(r"[A-Za-z_]\w{0,60}")


class Mistake(Exception):
    """What is wrong at a place of a file; the message names the key."""


class JsonNode:
    """A value of a JSON file.

    Attributes:
        value: as parsed; None for a key that is not there.
        where: its place, such as shapes[0].label; "" for the whole file.
    """

    __slots__ = ("value", "where")

    def __init__(self, value: Any, where: str = ""):
        self.value, self.where = value, where

    def mistake(self, text: str) -> Mistake:
        """The exception that says `text` about this place."""
        return Mistake(f"{self.where}: {text}" if self.where else text)

    def get(self, key: str) -> JsonNode:
        """The value of a key of an object."""
        return JsonNode(self.object().get(key), self._below(key))

    def object(self) -> dict[str, Any]:
        """The value, an object."""
        if not isinstance(self.value, dict):
            raise self._expected("an object")
        return self.value

    def members(self) -> Iterator[tuple[str, JsonNode]]:
        """(key, value) of an object."""
        return ((key, JsonNode(value, self._below(key))) for key, value in self.object().items())

    def items(self) -> list[JsonNode]:
        """The values of a list."""
        if not isinstance(self.value, list):
            raise self._expected("a list")
        return [JsonNode(value, f"{self.where}[{index}]") for index, value in enumerate(self.value)]

    def text(self) -> str:
        """The value, a text of at least one letter."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self._expected("a text")
        return self.value.strip()

    def number(self, least: float | None = None) -> float:
        """The value, a finite number, not below `least`."""
        if not is_number(self.value):
            raise self._expected("a number")
        if least is not None and self.value < least:
            raise self._expected(f"a number of at least {least:g}")
        return float(self.value)

    def pixels(self) -> int:
        """The value, the side of an image: a whole number of 1 or more."""
        if not is_integer(self.value) or self.value < 1:
            raise self._expected("a whole number of pixels")
        return self.value

    def point(self) -> tuple[float, float]:
        """The value, a list of x and y."""
        values = self.items()
        if len(values) != 2:
            raise self._expected("two numbers x and y")
        return values[0].number(), values[1].number()

    def _expected(self, what: str) -> Mistake:
        found = "is missing" if self.value is None else f"is {short_json(self.value, 40)}"
        return self.mistake(f"{found}; expected {what}" if self.where else f"{found}, but must be {what}")

    def _below(self, key: str) -> str:
        if _PLAIN_KEY.fullmatch(key):
            return f"{self.where}.{key}" if self.where else key
        return f"{self.where}[{short_json(key, 40)}]"


def read_node(path: Path, problems: Problems) -> JsonNode | None:
    """The content of a JSON file; None, with a line in `problems`, if it cannot be read."""
    try:
        return JsonNode(read_json(path))
    except NotJson as error:
        problems.add(path, None, str(error))
    except OSError as error:
        problems.add(path, None, f"cannot be read ({error.strerror})")
    return None
