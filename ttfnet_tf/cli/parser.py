"""What the verbs share: a parser that tells its errors in one line, and checks of options."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ttfnet_tf.errors import UserError

RUN_HELP = "work directory, one checkpoint such as runs/x/checkpoints/step-370, an exported SavedModel or a .tflite file"


class Parser(argparse.ArgumentParser):
    """Tells its errors like every other mistake: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def add_verb(verbs, name: str, command, summary: str, rest: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    verb.set_defaults(command=command, takes_rest=True)
    verb.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    if rest == "key=value":
        verb.epilog = "Settings follow as key=value, e.g. decode.top_k=50; docs/settings.md lists them."
    return verb


def positive(value: int, option: str) -> int:
    if value < 1:
        raise UserError(f"{option} {value} must be 1 or more")
    return value
