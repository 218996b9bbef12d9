"""The command line: `ttfnet train|evaluate|predict|convert|reproduce|benchmark|data ...`; the files in tools/ are the same verbs.

Arguments and settings are checked before TensorFlow is imported, so that a typing error answers at once.
Exit codes: 0 success; 2 a mistake of the user, told in one line; 130 interrupted; 1 a fault of ours (`--debug` shows where).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from ttfnet_tf import __version__
from ttfnet_tf.cli import benchmark, data, export, reproduce, runs, weights
from ttfnet_tf.cli.parser import Parser
from ttfnet_tf.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        args = _parse([argument for argument in argv if argument != "--debug"])
        # Before TensorFlow is imported: its start-up notes, some of them at error level on every machine without a GPU, hide our
        # lines. What goes wrong still arrives as an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
        logging.getLogger("tensorflow").setLevel(logging.INFO if debug else logging.ERROR)
        return args.command(args) or 0
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"ttfnet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ttfnet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        message = " ".join(str(error).split())[:300]
        hint = "" if debug else "; this is a fault of ttfnet, --debug shows where"
        print(f"ttfnet: {type(error).__name__}: {message}{hint}", file=sys.stderr)
        return 1


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="ttfnet", description="TTFNet object detection on TensorFlow 2.")
    parser.add_argument("--version", action="version", version=f"ttfnet-tf {__version__}")
    verbs = parser.add_subparsers(metavar="train | evaluate | predict | export | convert | reproduce | benchmark | data", required=True)

    runs.add_verbs(verbs)
    benchmark.add_verb(verbs)
    export.add_verb(verbs)
    weights.add_verb(verbs)
    reproduce.add_verb(verbs)

    verb = verbs.add_parser("data", help="make and measure data sets", description="Data sets.")
    verb.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    data.add_verbs(verb)

    # Overrides and sources may stand before and after options, which argparse's own "any number" positionals refuse.
    args, rest = parser.parse_known_args(argv)
    for argument in rest:
        if argument.startswith("-") or not getattr(args, "takes_rest", False):
            raise UserError(f"unknown argument {argument}; see ttfnet {argv[0]} --help")
    args.rest = rest
    return args
