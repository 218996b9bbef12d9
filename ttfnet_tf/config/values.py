"""From a written value to the type of its setting."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any, Literal, Union

from ttfnet_tf.config.yaml_tree import Text, shown
from ttfnet_tf.errors import UserError

MAX_TEXT = 4096  # characters; the longest path of Linux
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_NUMBER = re.compile(r"[-+]?([0-9]+(_[0-9]+)*)?\.?[0-9]*([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.?(inf|nan)", re.IGNORECASE)
_MUST = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


def is_text(kind: Any) -> bool:
    """Whether values of a type are taken as they are written."""
    return kind is str or kind == typing.Optional[str] or typing.get_origin(kind) is Literal


def read_value(value: Any, kind: Any, default: Any, where: str, *, is_path: bool = False) -> Any:
    """A value of the given type.

    Args:
        value: as written in a file or override, or from JSON.
        kind: int, float, bool, str, Optional[str], Literal[...], list[int], list[float] or list[str].
        default: of the setting; an example in messages.
        where: file and key in messages, such as "a.yaml: train.epochs".
        is_path: whether "~" is the home directory.

    Raises:
        UserError: it cannot be read as this type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        if not isinstance(value, list):
            example = [value] * len(default) if re.fullmatch(r"[0-9]{1,9}", str(value)) and default else default
            raise UserError(f"{where}={shown(value)} must be a list, such as [{', '.join(map(str, example)) or '...'}]")
        return [read_value(one, arguments[0], None, where) for one in value]
    is_null = value is None or (isinstance(value, Text) and value.is_null)
    if origin is Union:
        if is_null:
            return None
        kind = arguments[0]
    elif origin is Literal:
        kind = str
    if kind is str:
        return _text(value, where, is_null, is_path)
    found = None if is_null else _READERS[kind](value)
    if found is None:
        example = "" if default is None or kind is bool else f", such as {default}"
        raise UserError(f"{where}={shown('null' if value is None else value)} must be {_MUST[kind]}{example}")
    return found


def _text(value: Any, where: str, is_null: bool, is_path: bool) -> str:
    written = value.value if isinstance(value, Text) else value
    if not isinstance(written, str) or (is_null and written != "~"):
        raise UserError(f"{where}={shown('null' if value is None else value)} must be text")
    if len(written) > MAX_TEXT:
        raise UserError(f"{where}={shown(written, 40)} is too long: {len(written)} characters, at most {MAX_TEXT}")
    if any(not one.isprintable() for one in written):
        raise UserError(f"{where}={shown(written)} holds characters that cannot be printed; remove them")
    if is_path and (written == "~" or written.startswith("~/")):
        return str(Path(written).expanduser())
    return written


def _integer(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.value.strip() if isinstance(value, Text) else ""
    # More digits than any limit has: int() refuses thousands of them.
    return int(text.replace("_", "")[:40]) if _INTEGER.fullmatch(text) else None


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(min(max(value, -(10**300)), 10**300)) if isinstance(value, int) else value
    text = value.value.strip() if isinstance(value, Text) else ""
    if special := _SPECIAL.fullmatch(text):
        return float("".join(special.groups()))
    return float(text) if _NUMBER.fullmatch(text) and any(one.isdigit() for one in text.split("e")[0].split("E")[0]) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return _BOOLEANS.get(value.value.strip().lower()) if isinstance(value, Text) else None


_READERS = {int: _integer, float: _number, bool: _boolean}
