"""Text of users on a terminal: names in files that are not trusted may hold line breaks and escape codes.

`PlainStream` is the one place: the command line prints through it, so that no print needs to think of it.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# Control characters, line and paragraph separators, marks that turn the direction of writing, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_IN_A_STREAM = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text in one line: a blank in place of everything that is no letter, digit, sign or space."""
    return _UNPRINTABLE.sub(" ", text)


class PlainStream:
    """A stream that keeps line breaks and tabs, and prints "?" for all other control characters and for letters it cannot encode.

    Args:
        stream: to print to; also the attribute `terminal`, for what draws with escape codes itself.
    """

    def __init__(self, stream: TextIO):
        self.terminal = stream

    def write(self, text: str) -> int:
        """Prints; returns the number of letters."""
        plain = _IN_A_STREAM.sub("?", text)
        try:
            self.terminal.write(plain)
        except UnicodeEncodeError:
            encoding = self.terminal.encoding or "ascii"
            self.terminal.write(plain.encode(encoding, "replace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


def terminal_of(stream: TextIO) -> TextIO:
    """The stream under a `PlainStream`, for what draws with escape codes itself and prints no text of users; other streams as they are."""
    return getattr(stream, "terminal", stream)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Standard output and standard error are `PlainStream`s inside the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (PlainStream(terminal_of(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
