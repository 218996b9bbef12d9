"""The command line: `ttfnet VERB ...`, the same as `python -m ttfnet_tf VERB ...`; the files in tools/ are the same verbs.

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
from ttfnet_tf.cli import benchmark, data, export, predict, replay, report, reproduce, runs, serving, weights
from ttfnet_tf.cli.parser import Parser
from ttfnet_tf.errors import UserError

# The verbs in the order of use, as help lists them.
SECTIONS = (
    ("data", ("data check", "data convert", "data show", "data stats", "data shapes")),
    ("training", ("train", "evaluate", "report", "replay")),
    ("use", ("predict", "export", "serve-client")),
    ("weights, speed, published figures", ("convert", "benchmark", "reproduce")),
)
_BROKEN_PIPE = 141  # what a shell shows of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, where a reader that has gone can be told from a fault
    except BrokenPipeError:  # `ttfnet ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def build_parser() -> Parser:
    """The parser of every verb."""
    parser = Parser(
        prog="ttfnet",
        description="TTFNet object detection on TensorFlow 2: from boxes to a served model.",
        epilog="ttfnet help VERB explains a verb; --debug shows where an error comes from.",
    )
    parser.add_argument("--version", action="version", version=f"ttfnet-tf {__version__}")
    parser.examples = (
        "ttfnet data shapes demo/shapes --train 400 --size 128 128",
        "ttfnet train configs/demo.yaml --work-dir demo/run",
        "ttfnet predict demo/run demo/shapes/val --out demo/drawings",
    )
    verbs = parser.add_verbs()
    data.add_verbs(verbs)
    runs.add_verbs(verbs)
    report.add_verb(verbs)
    replay.add_verb(verbs)
    predict.add_verb(verbs)
    export.add_verb(verbs)
    serving.add_verb(verbs)
    weights.add_verb(verbs)
    benchmark.add_verb(verbs)
    reproduce.add_verb(verbs)
    parser.sections = SECTIONS
    return parser


def _run(argv: list[str]) -> int:
    debug = "--debug" in argv
    try:
        args = parse([argument for argument in argv if argument != "--debug"])
        # Before TensorFlow is imported: its start-up notes, some of them at error level on every machine without a GPU, hide our
        # lines. What goes wrong still arrives as an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
        logging.getLogger("tensorflow").setLevel(logging.INFO if debug else logging.ERROR)
        return args.command(args) or 0
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("ttfnet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        line, code = _told(error)
        hint = "" if debug or code == 2 else "; this is a fault of ttfnet, --debug shows where"
        print(f"ttfnet: {line}{hint}", file=sys.stderr)
        return code


def _told(error: Exception) -> tuple[str, int]:
    """The line about an error, and the exit code."""
    if isinstance(error, UserError):
        return str(error), 2
    # TensorFlow's class goes by its name here: no mistake that is told before it is needed waits for its import.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out of memory; lower train.batch_size (or --batch-size) or data.image_size, or free some memory", 2
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", 1


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments of one command line; `command` among them is the function to call with them.

    Raises:
        UserError: a mistake, with a hint.
        SystemExit: help was asked for and printed.
    """
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    parser = build_parser()
    chosen = parser.chosen(argv)
    if chosen.verbs is not None and not any(argument.startswith("-") for argument in argv):
        chosen.print_help(sys.stderr)
        chosen.exit(2)
    # Overrides and sources may stand before and after options, which argparse's own "any number" positionals refuse.
    args, rest = parser.parse_known_args(argv)
    for argument in rest:
        if argument.startswith("-") or not getattr(args, "takes_rest", False):
            raise chosen.unknown_argument(argument)
    args.rest = rest
    return args
