"""XML files as trees whose elements know their line, so that every mistake can be located."""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from ttfnet_tf.errors import UserError


class Node:
    """An element of an XML file; `line` counts from 1."""

    __slots__ = ("children", "line", "tag", "text")

    def __init__(self, tag: str, line: int):
        self.tag, self.line, self.text = tag, line, ""
        self.children: list[Node] = []

    def find(self, tag: str) -> Node | None:
        """The first child of that tag."""
        for child in self.children:
            if child.tag == tag:
                return child
        return None

    def value(self, tag: str) -> str:
        """Text of a child, "" if there is none."""
        child = self.find(tag)
        return child.text.strip() if child is not None else ""


class Malformed(Exception):
    """A file that is not XML; `line` counts from 1."""

    def __init__(self, line: int, text: str):
        super().__init__(text)
        self.line = line


def parse_xml(path: Path) -> Node:
    """The root element.

    Entities that a file declares are refused: no annotation tool writes any, and a few lines of them can fill the memory.

    Raises:
        Malformed: the file is not well-formed or declares entities.
        UserError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    parser = expat.ParserCreate()
    parser.buffer_text = True
    open_nodes = [Node("", 0)]

    def start(tag, _):
        node = Node(tag, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def end(_):
        open_nodes.pop()

    def characters(text):
        open_nodes[-1].text += text

    def entity(name, *_):
        raise Malformed(parser.CurrentLineNumber, f"declares the entity '{name}', which no annotation needs")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Malformed(error.lineno, f"is not well-formed XML ({expat.ErrorString(error.code)})") from None
    except (LookupError, ValueError) as error:  # an encoding that Python lacks
        raise Malformed(1, f"is not readable XML ({error})") from None
    return open_nodes[0].children[0]
