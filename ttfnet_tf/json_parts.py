"""A large JSON object read in parts, so that its lists are never in memory as a whole.

A list of objects is cut after about four megabytes, between two objects, and each part is parsed as a list of its own. A cut in a wrong
place, such as inside a text, cannot go unseen: everything before it is known to be complete, so the part up to it is a valid list only
if the cut lies between two elements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ttfnet_tf.json_text import parse_plain_json

_PART = 4_000_000  # bytes
_TRIES = 16  # places where a list or value may end
_OBJECT, _LIST, _EMPTY_LIST = re.compile(rb'\s*\{(?=\s*")'), re.compile(rb"\[(?=\s*\{)"), re.compile(rb"\[\s*\]")
_KEY = re.compile(rb'\s*"([^"\\\x00-\x1f]*)"\s*:\s*')
_BETWEEN = re.compile(rb"\}\s*,\s*(?=\{)")
_END_OF_LIST = re.compile(rb"\}\s*\](?=\s*[,}])")
_END_OF_VALUE = {
    b"[": re.compile(rb"\](?=\s*[,}])"),
    b"{": re.compile(rb"\}(?=\s*[,}])"),
    b'"': re.compile(rb'"(?=\s*[,}])'),
}
_END_OF_WORD = re.compile(rb"(?=[,}\s])")  # of a number, true, false or null
_NEXT = re.compile(rb"\s*([,}])")
_SPACE = re.compile(rb"\s*")


def read_in_parts(data: bytes, lists: Mapping[str, Callable[[list], Any]]) -> dict[str, Any]:
    """The values of a JSON object by key; of two with the same key the last.

    Args:
        data: UTF-8 text of the object.
        lists: key of a list of objects -> what to keep of a part of it.

    Returns:
        For the keys of `lists` what was kept of each part; for other keys the value.

    Raises:
        ValueError: it is no such object, or not one of a plain form. `json_text.parse_json` decides then.
    """
    start = _match(_OBJECT, data, 0).end()
    content: dict[str, Any] = {}
    while True:
        key = _match(_KEY, data, start)
        name = key[1].decode()
        if name in lists:
            content[name], end = _list(data, key.end(), lists[name])
        else:
            content[name], end = _value(data, key.end())
        following = _match(_NEXT, data, end)
        start = following.end()
        if following[1] == b"}":
            if _match(_SPACE, data, start).end() != len(data):
                raise ValueError("text after the object")
            return content


def _match(pattern: re.Pattern[bytes], data: bytes, start: int) -> re.Match[bytes]:
    found = pattern.match(data, start)
    if found is None:
        raise ValueError("not a plain JSON object")
    return found


def _list(data: bytes, start: int, keep: Callable[[list], Any]) -> tuple[list[Any], int]:
    """(what was kept of each part, offset after the list) of the list that begins at `start`."""
    empty = _EMPTY_LIST.match(data, start)
    if empty is not None:
        return [], empty.end()
    start = _match(_LIST, data, start).end()
    kept = []
    while True:
        cut = _BETWEEN.search(data, start + _PART)
        try:
            part = parse_plain_json(b"[" + data[start : cut.start() + 1] + b"]") if cut is not None else None
        except ValueError:  # the list ends before
            part = None
        if part is None or cut is None:
            part, end = _first_value(data, start, _END_OF_LIST, b"[")
            return [*kept, keep(part)], end
        kept.append(keep(part))
        start = cut.end()


def _value(data: bytes, start: int) -> tuple[Any, int]:
    """(value, offset after it) of any value."""
    return _first_value(data, start, _END_OF_VALUE.get(data[start : start + 1], _END_OF_WORD), b"")


def _first_value(data: bytes, start: int, ends: re.Pattern[bytes], before: bytes) -> tuple[Any, int]:
    """(value, offset after it) of the shortest text from `start` to one of `ends` that is a value with `before` in front of it."""
    for number, end in enumerate(ends.finditer(data, start)):
        if number == _TRIES:
            break
        try:
            return parse_plain_json(before + data[start : end.end()]), end.end()
        except ValueError:
            continue
    raise ValueError("not a plain JSON object")
