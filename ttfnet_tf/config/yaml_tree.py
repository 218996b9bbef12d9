"""YAML as text: a tree of dictionaries and lists whose leaves are not interpreted, since the type of a setting decides how it is read.

What settings do not need is refused, so that a file can neither be misread nor grow: keys given twice, aliases, tags, deep nesting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

import yaml

from ttfnet_tf.errors import UserError

MAX_BYTES = 200_000  # of a settings file; the longest of our own has 5,000
_MAX_DEPTH = 10
_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, repr=False)
class Text:
    """A value as it is written."""

    value: str
    is_plain: bool = True  # without quotes

    @property
    def is_null(self) -> bool:
        """Whether it stands for no value."""
        return self.is_plain and self.value in _NULLS

    def __repr__(self) -> str:
        return self.value


Tree = Union[dict[str, Any], list[Any], Text]


def read_tree(text: str, source: str) -> Tree | None:
    """The tree of a YAML document; None if it is empty.

    Args:
        text: YAML.
        source: names it in messages.

    Raises:
        UserError: it is not YAML, or uses what settings do not need.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{source}: has {len(text)} characters; a settings file has up to {MAX_BYTES}")
    try:
        return _tree(text, source)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: is not YAML ({_fault(error)})") from None


def _tree(text: str, source: str) -> Tree | None:
    root: Tree | None = None
    open_nodes: list[_Node] = []
    documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise UserError(f"{source}: line {line}: a second document; write one")
        elif isinstance(event, yaml.AliasEvent):
            raise UserError(f"{source}: line {line}: aliases such as *{shown(event.anchor, 30)} are not supported; write the value again")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            open_nodes.pop()
        elif isinstance(event, (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            if event.tag is not None:
                raise UserError(f"{source}: line {line}: tags such as {shown(event.tag, 30)} are not supported; remove it")
            value: Tree = {} if isinstance(event, yaml.MappingStartEvent) else []
            if isinstance(event, yaml.ScalarEvent):
                value = Text(event.value, is_plain=event.style is None)
            if open_nodes:
                open_nodes[-1].add(value, line, source)
            else:
                root = value
            if not isinstance(value, Text):
                open_nodes.append(_Node(value))
                if len(open_nodes) > _MAX_DEPTH:
                    raise UserError(f"{source}: line {line}: is nested more than {_MAX_DEPTH} deep")
    return None if isinstance(root, Text) and root.is_null else root


class _Node:
    """A dictionary or list that is being read."""

    def __init__(self, value: dict[str, Any] | list[Any]):
        self.value = value
        self.key: str | None = None  # of a dictionary whose value comes next
        self.lines: dict[str, int] = {}

    def add(self, value: Tree, line: int, source: str) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is not None:
            self.value[self.key], self.key = value, None
        elif not isinstance(value, Text):
            raise UserError(f"{source}: line {line}: a key must be a name")
        elif value.value in self.lines:
            raise UserError(f"{source}: line {line}: '{shown(value.value, 60)}' is given twice, first in line {self.lines[value.value]}")
        else:
            self.key = value.value
            self.lines[value.value] = line


def shown(value: Any, limit: int = 100) -> str:
    """A value in a message: one line, printable, not too long."""
    text = str(value) if len(str(value)) <= limit else f"{str(value)[:limit]}..."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _fault(error: Exception) -> str:
    """Without the excerpt of the file, which takes several lines."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{shown(error.problem)} at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.character:#06x} at position {error.position}"
    return shown(" ".join(str(error).split()))
