"""What the verbs share: a parser that tells its errors in one line and shows examples, and checks of options."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from ttfnet_tf.errors import UserError

RUN_HELP = "work directory, one checkpoint such as runs/x/checkpoints/step-370, an exported SavedModel or a .tflite file"
SETTINGS_FOLLOW = "Settings follow as key=value, e.g. decode.top_k=50; docs/settings.md lists them."
_NAME_WIDTH = 16  # of a verb in a list of verbs

# Of exported models: written here as well, so that a wrong one is refused before TensorFlow is imported.
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")
RUNTIMES = ("litert", "tensorflow")


class Parser(argparse.ArgumentParser):
    """A command, or a group of them.

    Tells its errors like every other mistake: one line, exit code 2. Its help shows examples, that of a group its verbs, one a line.

    Attributes:
        summary: one line for a list of verbs; below 60 characters it fits a terminal of 80.
        examples: command lines, each one that parses.
        takes_settings: whether key=value may follow.
        verbs: the group's verbs by name, see `add_verbs`; None of a command.
        sections: [(title, names of verbs, e.g. "data check")], the order in which help lists them.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.summary = ""
        self.examples: Sequence[str] = ()
        self.takes_settings = False
        self.verbs = None
        self.sections: Sequence[tuple[str, Sequence[str]]] = ()

    def add_verbs(self):
        """Makes this a group; returns what `add_verb` takes."""
        self.usage = f"{self.prog} VERB ..."
        self.verbs = self.add_subparsers(prog=self.prog, metavar="VERB", help=argparse.SUPPRESS)
        return self.verbs

    def commands(self) -> dict[str, Parser]:
        """Every command below by its words, e.g. {"train": ..., "data check": ...}, in the order in which they were added."""
        found = {}
        for name, verb in (self.verbs.choices if self.verbs is not None else {}).items():
            below = verb.commands()
            found.update({f"{name} {inner}": parser for inner, parser in below.items()} if below else {name: verb})
        return found

    def chosen(self, argv: Sequence[str]) -> Parser:
        """The command that `argv` begins with, or the group where an option stands instead of a verb.

        Raises:
            UserError: there is no such verb; names the nearest.
        """
        parser = self
        for word in argv:
            if parser.verbs is None or word.startswith("-"):
                break
            if word not in parser.verbs.choices:
                raise UserError(f"unknown verb '{word}'{self._nearest_command(word, parser)}; see {parser.prog} --help")
            parser = parser.verbs.choices[word]
        return parser

    def unknown_argument(self, argument: str) -> UserError:
        """The line about an argument that nothing takes; names the nearest option of this command."""
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
        """A hint at a command whose last word looks like `word`: of the group `parser` before others."""
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
    """Adds a command; its function is `args.command`, to be called with `args`.

    Args:
        verbs: from `Parser.add_verbs`.
        name: the verb.
        command: called with the parsed arguments; may return an exit code.
        summary: one line for the list of verbs.
        rest: what may follow anywhere between the options and arrives as `args.rest`, e.g. "key=value"; "" refuses everything else.
        description: for the verb's own help; default the summary.
        epilog: behind its options; default of "key=value" a line about settings.
        examples: command lines behind that.
    """
    if epilog is None and rest == "key=value":
        epilog = SETTINGS_FOLLOW
    verb = verbs.add_parser(name, description=description or f"{summary[0].upper()}{summary[1:]}.", epilog=epilog)
    verb.summary, verb.examples = summary, tuple(examples)
    verb.takes_settings = rest == "key=value"
    verb.set_defaults(command=command, takes_rest=bool(rest))
    verb.add_argument("--debug", action="store_true", help="show where an error comes from, and TensorFlow's own lines")
    return verb


def positive(value: int, option: str) -> int:
    if value < 1:
        raise UserError(f"{option} {value} must be 1 or more")
    return value
