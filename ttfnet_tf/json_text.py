"""JSON, read as a file that is not trusted and written so that every reader takes it.

All JSON of the package goes through this module. What is read has no text that cannot be written again, no list in a list in a list
without end and no number of thousands of digits; whatever is wrong is a `NotJson`, which is a ValueError. NaN and infinity are read,
because older files and other programs have them, and written as null, because JSON has no such numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

DEEPEST = 100  # lists and objects inside each other; annotations have about five
_LARGEST = 2**53  # from here on floats skip whole numbers
# A pair of escapes that is one character, or half of a pair, which is none. An escaped \ is no beginning of either.
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_SURROGATES = re.compile(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})")


class NotJson(ValueError):
    """Text that is not JSON, or JSON that no program of good will writes; the message completes "the file ..."."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read.
        NotJson: see `parse_json`.
    """
    return parse_json(path.read_bytes())


def parse_json(data: bytes | str) -> Any:
    """The content of JSON text: UTF-8, or UTF-16 or UTF-32 as some editors save it, with a byte order mark or without.

    Raises:
        NotJson: it is not JSON, is nested too deep, or has half a character or a number of thousands of digits.
    """
    try:
        return parse_plain_json(data.encode() if isinstance(data, str) else data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return _parse_any(data)


def parse_plain_json(data: bytes) -> Any:
    """The content of JSON text as `parse_json` gives it, several times faster; refuses some of what that takes.

    Raises:
        ValueError: it is not JSON in UTF-8, or may hold what the fast parser treats in another way: NaN and infinity, numbers of 64 bits
            and more, half characters, deep nesting.
    """
    content = orjson.loads(data)
    if b"0" * 19 in data.translate(_DIGITS):  # numbers from 2**64 on would be floats
        raise ValueError("long numbers")
    brackets = data.translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(10):  # each round removes the innermost level
        brackets = brackets.replace(b"[]", b"")
    if brackets and _is_too_deep(content):
        raise ValueError("nested too deep")
    return content


def _parse_any(data: bytes | str) -> Any:
    try:
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        raise NotJson("is not UTF-8 text") from None
    text = text.removeprefix("\ufeff")
    if "\\u" in text and any(match[1] for match in _SURROGATES.finditer(text)):
        half = next(match for match in _SURROGATES.finditer(text) if match[1])
        raise NotJson(f"has half a character ({half[1]} at line {text.count(chr(10), 0, half.start()) + 1})")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON ({error.msg} at line {error.lineno})") from None
    except RecursionError:
        raise NotJson("is nested too deep") from None
    except ValueError:  # Python's limit for numbers
        raise NotJson("has a number of thousands of digits") from None
    if _is_too_deep(content):
        raise NotJson("is nested too deep")
    return content


def json_text(content: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """JSON text that can be encoded as UTF-8; NaN and infinity become null, and half characters "?"."""
    try:
        text = json.dumps(content, ensure_ascii=ascii_only, allow_nan=False, indent=indent)
    except ValueError:
        text = json.dumps(_replaced(content, lambda _: None), ensure_ascii=ascii_only, allow_nan=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # such as names of files in another encoding
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def short_json(value: Any, limit: int = 60) -> str:
    """A value for a message, as it stands in the file: with the quotes of texts, NaN as NaN, and shortened to `limit` letters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def is_number(value: Any) -> bool:
    """Whether a value is a finite number below 2**53, as JSON gives it; true and "3" are none."""
    return type(value) in (int, float) and abs(value) < _LARGEST


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number below 2**53, as JSON gives it; true, "3" and 3.0 are none."""
    return type(value) is int and abs(value) < _LARGEST


def number(value: Any) -> float:
    """The value as a float.

    Raises:
        ValueError: it is no finite number.
    """
    if not is_number(value):
        raise ValueError(f"expected a number, found {short_json(value)}")
    return float(value)


def integer(value: Any) -> int:
    """The value.

    Raises:
        ValueError: it is no whole number.
    """
    if not is_integer(value):
        raise ValueError(f"expected a whole number, found {short_json(value)}")
    return value


def _is_too_deep(content: Any) -> bool:
    level = [content]
    for _ in range(DEEPEST):
        below = []
        for node in level:
            values = node.values() if type(node) is dict else node if type(node) is list else ()
            # First the types, which is quick: most lists are numbers.
            if not {dict, list}.isdisjoint(map(type, values)):
                below += [value for value in values if type(value) in (dict, list)]
        if not below:
            return False
        level = below
    return True


def with_text(content: Any) -> Any:
    """A copy with "nan", "inf" and "-inf" in place of the numbers that JSON does not have, where null would lose what they were."""
    return _replaced(content, str)


def _replaced(content: Any, replace: Callable[[float], Any]) -> Any:
    """A copy in which numbers that are not finite are replaced."""
    if isinstance(content, Mapping):
        return {key: _replaced(value, replace) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_replaced(value, replace) for value in content]
    return replace(content) if isinstance(content, float) and not math.isfinite(content) else content
