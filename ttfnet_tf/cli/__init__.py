"""The command line: `ttfnet VERB ...`, the same as `python -m ttfnet_tf VERB ...`. Each verb is a file of its name in this folder.

A verb parses its arguments, calls the package and prints. Arguments and settings are checked before TensorFlow is imported, so that a
typing error answers at once.
Exit codes: 0 success; 2 a mistake that the user can fix, in one line; 130 interrupted; 1 a bug of ours (`--debug` shows the stack trace).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec

from ttfnet_tf import __version__
from ttfnet_tf.cli import (
    benchmark,
    data,
    demo,
    evaluate,
    export,
    fit,
    predict,
    replay,
    report,
    reproduce,
    serve_client,
    train,
    tune,
    weights,
)
from ttfnet_tf.cli.parser import Parser
from ttfnet_tf.errors import UserError
from ttfnet_tf.locations import is_url
from ttfnet_tf.plain_text import plain_output, printable
from ttfnet_tf.quiet_import import import_as_usual

# The verbs in the order of use, as help lists them.
SECTIONS = (
    ("a first look", ("demo", "fit", "tune")),
    (
        "data",
        (
            *("data check", "data convert", "data split", "data merge", "data next", "data pack"),
            *("data show", "data stats", "data shapes"),
        ),
    ),
    ("training", ("train", "evaluate", "report", "replay")),
    ("use", ("predict", "export", "serve-client")),
    ("weights, speed, published figures", ("weights", "benchmark", "reproduce")),
)
_FORMER_VERBS = {"convert": "ttfnet weights converts weights, ttfnet data convert converts annotations"}
_RESULTS = ("out", "json", "fix", "report")  # options with a file or folder to write
_BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            with plain_output():
                return _run(argv)
        finally:
            sys.stdout.flush()  # here, so that a closed pipe is seen below
    except BrokenPipeError:  # `ttfnet ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def build_parser() -> Parser:
    """The parser of every verb."""
    parser = Parser(
        prog="ttfnet",
        description="TTFNet object detection on TensorFlow 2: from boxes to a served model.",
        epilog="ttfnet help VERB explains a verb; --debug shows the stack trace of an error.",
    )
    parser.add_argument("--version", action="version", version=f"ttfnet-tf {__version__}")
    parser.examples = (
        "ttfnet demo",
        "ttfnet train ttfnet_r18_1x --work-dir runs/mine train.batch_size=8",
        "ttfnet predict runs/mine images --out drawings",
    )
    parser.sections, parser.former_verbs = SECTIONS, _FORMER_VERBS
    verbs = parser.add_verbs()
    demo.add_to(verbs)
    data.add_group(verbs)
    for verb in (fit, tune, train, evaluate, report, replay, predict, export, serve_client, weights, benchmark, reproduce):
        verb.add_to(verbs)
    return parser


def _run(argv: list[str]) -> int:
    debug = "--debug" in argv
    try:
        args = parse([argument for argument in argv if argument != "--debug"])
        _quiet_tensorflow(debug)
        return args.command(args) or 0
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("ttfnet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        line, code = _error_line(error)
        hint = "" if debug or code == 2 else "; this is a bug in ttfnet, --debug shows where"
        print(f"ttfnet: {printable(line)}{hint}", file=sys.stderr)
        return code


def _quiet_tensorflow(debug: bool) -> None:
    """Hides TensorFlow's start-up messages, some at error level on every machine without a GPU.

    Call it before TensorFlow is imported. What really goes wrong still arrives as an exception.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    logging.getLogger("tensorflow").setLevel(logging.INFO if debug else logging.ERROR)
    if debug:
        import_as_usual()
    # keras-cv takes Keras from TensorFlow: Keras 2 with this, in our own process. Everything of ours comes from `keras2`.
    if find_spec("tf_keras"):
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def _error_line(error: Exception) -> tuple[str, int]:
    """What to print about an error, and the exit code."""
    if isinstance(error, UserError):
        return str(error), 2
    # TensorFlow's class is compared by name: importing TensorFlow here would delay every other message by seconds.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out of memory; lower train.batch_size (or --batch-size) or data.image_size, or free some memory", 2
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", 1


def parse(argv: list[str]) -> argparse.Namespace:
    """The parsed arguments of one command line; `command` among them is the function to call with them.

    Raises:
        UserError: a wrong verb, option or value; the message has a hint.
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
    if (url := next((value for name in _RESULTS if is_url(value := getattr(args, name, None))), None)) is not None and not args.writes_urls:
        raise UserError(f"{url}: results are written to a disk; name a path")
    return args
