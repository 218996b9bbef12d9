"""XML files as trees whose elements know their line, so that every mistake can be located."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.parsers import expat

from ttfnet_tf.errors import UserError

_OF_LETTERS = ("utf", "ascii", "iso8859", "cp", "koi8", "mac")
_EAST_ASIA = ("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "cp950", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949")


class Node:
    """An element of an XML file; `line` counts from 1."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, line: int, attributes: dict[str, str] | None = None):
        self.tag, self.line, self.text = tag, line, ""
        self.attributes = attributes or {}
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

    def start(tag, attributes):
        node = Node(tag, parser.CurrentLineNumber, attributes)
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
        parser.Parse(_decoded(data), True)
    except expat.ExpatError as error:
        raise Malformed(error.lineno, f"is not well-formed XML ({expat.ErrorString(error.code)})") from None
    except (LookupError, ValueError) as error:  # an encoding that Python lacks
        raise Malformed(1, f"is not readable XML ({error})") from None
    return open_nodes[0].children[0]


def _decoded(data: bytes) -> bytes | str:
    """Text of the encodings of East Asia, which expat does not know; other files as they are."""
    declared = re.match(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_.-]{1,40})[\"']", data.removeprefix(b"\xef\xbb\xbf"))
    try:
        codec = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
        if not codec.startswith(_OF_LETTERS) and codec not in _EAST_ASIA:  # Python has others, such as rot13
            raise ValueError(f"its encoding is {declared[1].decode()}")
        return data.decode("gb18030" if codec in ("gb2312", "gbk") else codec) if codec in _EAST_ASIA else data
    except UnicodeDecodeError:
        raise ValueError(f"is not {codec} as it says") from None
