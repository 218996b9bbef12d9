"""`ttfnet export`: a run as files for other runtimes. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
from pathlib import Path

from ttfnet_tf.cli import parser
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError

# What may differ from the run: the rest is part of the trained network.
_KEYS = ("decode.", "export.")
_HAS_TFLITE = importlib.util.find_spec("ttfnet_tf.export.tflite") is not None


def add_verb(verbs) -> None:
    """Adds `export` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "export",
        run,
        "a run as SavedModel for TensorFlow Serving, or as TFLite",
        "key=value",
        description=run.__doc__,
        epilog="Settings follow as key=value, e.g. decode.score_threshold=0.05; docs/export.md says more.",
        examples=(
            "ttfnet export runs/demo --out models",
            "ttfnet export runs/demo --out models --format tflite --precision fp32 int8",
        ),
    )
    verb.add_argument("run", metavar="RUN", help="work directory of a training run, or one checkpoint in it")
    verb.add_argument("--out", metavar="DIR", required=True, help="folder of models; DIR/NAME/VERSION is written")
    formats = ("saved_model", "tflite") if _HAS_TFLITE else ("saved_model",)
    verb.add_argument("--format", nargs="+", choices=formats, default=["saved_model"], help="default saved_model")
    verb.add_argument("--name", metavar="NAME", help="of the model; default the name of the work directory")
    verb.add_argument("--version", type=int, metavar="N", help="of the SavedModel; default the next free number")
    if _HAS_TFLITE:
        choices = ("fp32", "fp16", "dynamic", "int8")
        verb.add_argument("--precision", nargs="+", choices=choices, default=["fp32"], help="of the TFLite files, one each; default fp32")


def run(args: argparse.Namespace) -> None:
    """Writes a trained run as a model that other programs load, and says where."""
    from ttfnet_tf.run_folder import work_directory

    for override in args.rest:
        if not override.startswith(_KEYS):
            raise UserError(f"override '{override}': export takes decode.* and export.* keys; the rest is part of the trained model")
    folder = work_directory(args.run)
    config = load_config(folder / "config.yaml", args.rest)
    if args.version is not None and args.version < 1:
        raise UserError(f"--version {args.version} must be 1 or more")
    name, out = args.name or folder.resolve().name, Path(args.out)

    from ttfnet_tf.progress import working

    with working(f"loading {args.run}"):
        from ttfnet_tf.checkpoint import load_run

        loaded = dataclasses.replace(load_run(args.run), config=config)
    if "saved_model" in args.format:
        with working("writing the SavedModel"):
            from ttfnet_tf.export.saved_model import export_saved_model

            written = export_saved_model(loaded, out, name=name, version=args.version)
        print(f"{written}: SavedModel of {args.run}, step {loaded.step}; serve {written.parent} as {name}")
    if "tflite" in args.format:
        _tflite(loaded, out / name, args.precision)


def _tflite(loaded, folder: Path, precisions) -> None:
    from ttfnet_tf.export.tflite import export_tflite
    from ttfnet_tf.progress import working

    for precision in precisions:
        with working(f"converting to TFLite, {precision}"):
            file = export_tflite(loaded, folder, precision=precision, representative=None)
        print(f"{file}: TFLite, {precision}")
