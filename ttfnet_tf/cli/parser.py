"""The parser of commands and groups of commands: errors in one line, examples in the help."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ttfnet_tf.errors import UserError

_SETTINGS_FOLLOW = "Settings follow as key=value, e.g. decode.top_k=50; docs/settings.md lists them."
_NAME_WIDTH = 16  # of a verb in a list of verbs


class Parser(argparse.ArgumentParser):
    """A command, or a group of commands.

    A wrong argument raises `UserError` like every other mistake. Help ends with examples; the help of a group lists its verbs.

    Attributes:
        summary: one line for a list of verbs; up to 60 characters fit a terminal of 80.
        examples: command lines that parse.
        takes_settings: whether key=value may follow.
        verbs: the group's verbs by name, see `add_verbs`; None for a command.
        sections: [(title, names of verbs, e.g. "data check")], the order in which help lists them.
        former_verbs: words that a user may type by habit -> what to type instead.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self.summary = ""
        self.examples: Sequence[str] = ()
        self.takes_settings = False
        self.verbs: Any = None
        self.sections: Sequence[tuple[str, Sequence[str]]] = ()
        self.former_verbs: Mapping[str, str] = {}

    def add_verbs(self):
        """Makes this a group; returns what `add_verb` takes."""
        self.usage = f"{self.prog} VERB ..."
        self.verbs = self.add_subparsers(prog=self.prog, metavar="VERB", help=argparse.SUPPRESS)
        return self.verbs

    def commands(self) -> dict[str, Parser]:
        """Every command of this group by its words, e.g. {"train": ..., "data check": ...}, in the order in which they were added."""
        found = {}
        for name, verb in (self.verbs.choices if self.verbs is not None else {}).items():
            below = verb.commands()
            found.update({f"{name} {inner}": parser for inner, parser in below.items()} if below else {name: verb})
        return found

    def chosen(self, argv: Sequence[str]) -> Parser:
        """The command that `argv` begins with, or the group where an option takes the place of a verb.

        Raises:
            UserError: there is no such verb; the message names the nearest.
        """
        parser = self
        for word in argv:
            if parser.verbs is None or word.startswith("-"):
                break
            if word in parser.former_verbs:
                raise UserError(f"there is no verb '{word}'; {parser.former_verbs[word]}")
            if word not in parser.verbs.choices:
                raise UserError(f"unknown verb '{word}'{self._nearest_command(word, parser)}; see {parser.prog} --help")
            parser = parser.verbs.choices[word]
        return parser

    def unknown_argument(self, argument: str) -> UserError:
        """The error about an argument that nothing takes; it names the nearest option of this command."""
        options = sorted(set(re.findall(r"--[\w-]+", self.format_usage())))
        nearest = difflib.get_close_matches(argument.partition("=")[0], options, n=1) if argument.startswith("-") else []
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        return UserError(f"unknown argument {argument}{hint}; see {self.prog} --help")

    def format_help(self) -> str:
        text = super().format_help()
        examples = "\nexamples:\n" + "".join(f"  {line}\n" for line in self.examples) if self.examples else ""
        if self.verbs is None:
            usage, blank, about = text.partition("\n\n")
            return usage + (" [key=value ...]" if self.takes_settings else "") + blank + about + examples
        known = self.commands()
        lists = [
            f"\n{title}:\n" + "".join(f"  {name:{_NAME_WIDTH}}{known[name].summary}\n" for name in names) for title, names in self.sections
        ]
        head, options, rest = text.partition("\noptions:\n")
        return "".join([head, *lists, examples, options, rest])

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def _nearest_command(self, word: str, parser: Parser) -> str:
        """A hint at a command whose last word looks like `word`; the group `parser` comes before others."""
        of_word = {name: f"{parser.prog} {name}" for name in parser.verbs.choices}
        for name in self.commands():
            of_word.setdefault(name.rpartition(" ")[2], f"{self.prog} {name}")
        nearest = difflib.get_close_matches(word, list(of_word), n=1)
        return f"; did you mean {of_word[nearest[0]]}?" if nearest else ""


def add_verb(
    verbs,
    name: str,
    command,
    summary: str,
    rest: str = "",
    *,
    description: str | None = None,
    epilog: str | None = None,
    examples: Sequence[str] = (),
) -> Parser:
    """Adds a command to a group.

    Args:
        verbs: from `Parser.add_verbs`.
        name: the verb.
        command: function of the parsed arguments, kept as `args.command`; may return an exit code.
        summary: one line for the list of verbs.
        rest: what may follow anywhere between the options and arrives as `args.rest`, e.g. "key=value"; "" refuses everything else.
        description: for the verb's own help; default the summary.
        epilog: after its options; default for "key=value" a line about settings.
        examples: command lines, last in its help.
    """
    if epilog is None and rest == "key=value":
        epilog = _SETTINGS_FOLLOW
    verb = verbs.add_parser(name, description=description or f"{summary[0].upper()}{summary[1:]}.", epilog=epilog)
    verb.summary, verb.examples = summary, tuple(examples)
    verb.takes_settings = rest == "key=value"
    verb.set_defaults(command=command, takes_rest=bool(rest), writes_urls=False)
    verb.add_argument("--debug", action="store_true", help="show the stack trace of an error, and TensorFlow's own messages")
    return verb
