"""Changes that break files: of JSON values, of text and of bytes. All follow from a `random.Random`."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

RAW = "\x02"  # begins a text that stands for itself in JSON, without quotes
NUMBERS = ("9" * 5000, "-" + "9" * 5000, "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1e-400", "-0", "00", "0x10", "1.", "9" * 20)
VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, 2**64, 10**18, 0.5, -0.5, 1e300, 1e-300, 1e15),
    *("", "a", "0", "1", "4.0", " 3 ", "1e3", "nan", "inf", "\0", "a\0b", "\ud800", "\n", "a\nb", "\r\n", "\x1b[31m", "\u202e", "é", "é"),
    *("../a", "/etc/passwd", "~", "a/b", ".", "..", "${HOME}", "$x$", "x" * 300, "x" * 70_000, "٣", "ｘ", "😀", "<b>", "%s", "{0}", "0012"),
    *([], {}, [[]], [None], [0], [0, 0, 0, 0], [1, 2, 3], [1, 2, 3, 4, 5], ["1", "2", "3", "4"], {"a": 1}, {"": ""}, {"id": 1}),
    *([1, 2, 1e308, 1e308], [-1e308, 0, 1e308, 1], [0.0, 0.0, 1e-9, 1e-9], [[1, 2, 3, 4]], [[[[1]]]]),
    *(RAW + number for number in NUMBERS),
)
DEPTHS = (20, 200, 2000, 100_000)


def change_json(value: Any, rng: random.Random) -> str:
    """The JSON text of a value with one to three changes, some of which only text can hold."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _change(value, rng)
    text = _text(value)
    return change_text(text, rng) if rng.random() < 0.15 else text


def change_text(text: str, rng: random.Random) -> str:
    """Text with one change: a part cut off, doubled, replaced or put in."""
    start, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    end = min(end, start + rng.choice((1, 2, 5, 50, len(text))))
    put = rng.choice(
        ("", "", text[start:end] * 2, "\0", "\ufeff", "\n", "\t", '"', "'", "{", "]", "<", "&", ",", ":", "#", "-", "é", "9" * 30, " " * 99)
    )
    return text[:start] + put + text[end:] if rng.random() < 0.8 else text[:start]


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not data:
            return bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 30))))
        # Headers are at the beginning.
        place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 64))
        kind, length = rng.randrange(7), rng.choice((1, 2, 4, 16, 300))
        if kind == 0:
            data = data[:place]
        elif kind == 1:
            data = data[:place] + data[place + length :]
        elif kind == 2:
            data = data[: place + length] + data[place:]
        elif kind == 3:
            data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        elif kind == 4:
            data = data[:place] + rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length + data[place + length :]
        elif kind == 5:
            number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1)).to_bytes(4, rng.choice(("big", "little")))
            data = data[:place] + number + data[place + 4 :]
        else:
            data = data[:place] + bytes(rng.randrange(256) for _ in range(length)) + data[place:]
    return data


def _change(value: Any, rng: random.Random) -> Any:
    places = list(_places(value))
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(VALUES))
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice((key.upper(), key + "s", "", "id", "\ud800", "x" * 300))] = holder.pop(key)
    elif kind == 3:
        _, other = rng.choice(places), rng.choice(places)
        holder[key] = copy.deepcopy(other[0][other[1]])
    elif kind == 4 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        number = holder[key]
        holder[key] = rng.choice((str(number), float(number), -number, number + 1, number * 10**6, number + 0.5, [number], f" {number} "))
    elif kind == 5 and rng.random() < 0.1:
        depth = rng.choice(DEPTHS)
        holder[key] = RAW + rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _places(value: Any):
    """(list or dictionary, key) of every value inside."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from _places(inner)


def _text(value: Any) -> str:
    if isinstance(value, str) and value.startswith(RAW):
        return value[1:]
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value)
