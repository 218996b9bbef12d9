"""`ttfnet export`: writes a run as SavedModel, as TFLite or as ONNX, and measures what each form costs."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite, positive, refuse_other_keys
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.config import load_stored
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.forms import ALL_PRECISIONS, FORMATS, PRECISIONS, check_installed, forms_of, installed_formats
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.inference.tflite_predictor import RUNTIMES
from ttfnet_tf.json_text import read_json
from ttfnet_tf.outputs import refuse_to_overwrite
from ttfnet_tf.runs.run_folder import work_directory

# Settings that may differ from those of the run.
_KEYS = ("decode.", "export.", "data.train.", "data.val.", "data.image_size=")


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "export",
        run,
        "a run as SavedModel for TensorFlow Serving, TFLite or ONNX",
        "key=value",
        description="Writes a trained run as a model that other programs load.",
        epilog="Settings follow as key=value, e.g. decode.score_threshold=0.05; docs/export.md says more.",
        examples=(
            "ttfnet export runs/demo --out models",
            "ttfnet export runs/demo --out models --format tflite --precision fp32 int8",
            "ttfnet export runs/demo --out models --format onnx --triton triton_models",
            "ttfnet export runs/demo --out models --precision bf16",
            "ttfnet export runs/demo --out models --name demo_640 data.image_size=[640,640]",
            "ttfnet export runs/demo --out models --matrix",
        ),
    )
    verb.add_argument("run", metavar="RUN", help="work directory of a training run, or one checkpoint in it")
    verb.add_argument("--out", metavar="DIR", required=True, help="folder of models; DIR/NAME/VERSION is written")
    verb.add_argument("--format", nargs="+", choices=FORMATS, help="default saved_model; with --matrix all that are installed")
    verb.add_argument("--name", metavar="NAME", help="of the model; default the name of the work directory")
    verb.add_argument("--version", type=int, metavar="N", help="of the SavedModel, and in --triton; default the next free number")
    verb.add_argument("--triton", metavar="DIR", help="also write a model repository of the Triton server around each ONNX file")
    add_overwrite(verb)
    help_precision = "SavedModel: fp32, bf16; TFLite: fp32, fp16, dynamic, int8; ONNX: fp32, fp16, int8; default fp32, with --matrix all"
    verb.add_argument("--precision", nargs="+", choices=ALL_PRECISIONS, help=help_precision)
    matrix = verb.add_argument_group("matrix", "AP, boxes, time and size of each exported form, as a table and in the model cards")
    matrix.add_argument("--matrix", action="store_true", help="compare the exported models with the checkpoint, on data.val")
    matrix.add_argument("--limit", type=int, metavar="N", help="use the first N images of data.val; default all")
    matrix.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="for timing; default one for each core")
    matrix.add_argument("--repeats", type=int, default=30, metavar="N", help="timed calls of each model; default 30")
    matrix.add_argument("--runtime", choices=RUNTIMES, help="for timing .tflite files; default litert if it is installed")


def run(args: argparse.Namespace) -> None:
    """Exports the forms asked for, measures them if wanted, and prints where they are."""
    takes = "export takes decode.*, export.*, data.image_size, data.train.* and data.val.* keys"
    refuse_other_keys(args.rest, _KEYS, f"{takes}; the rest is part of the trained model")
    folder = work_directory(args.run)
    config = load_stored(folder / "config.yaml", args.rest)
    if args.version is not None:
        positive(args.version, "--version")
    threads, repeats = positive(args.threads, "--threads"), positive(args.repeats, "--repeats")
    limit = None if args.limit is None else positive(args.limit, "--limit")
    name, out = args.name or folder.resolve().name, Path(args.out)
    formats = args.format or (installed_formats() if args.matrix else FORMATS[:1])
    every = [precision for precision in ALL_PRECISIONS if any(precision in PRECISIONS[one] for one in formats)]
    forms = forms_of(formats, args.precision or (every if args.matrix else ["fp32"]))
    files = [f"model_{precision}.{one}" for one, precision in forms if one != "saved_model"]
    _check_output(out / name, [*files, *(("matrix.json", "matrix.md") if args.matrix else ())], args.overwrite)
    _check_triton(args, name, forms)
    check_installed(forms)

    from ttfnet_tf.progress import working

    with working(f"loading {args.run}"):
        from ttfnet_tf.runs.checkpoint import load_run

        loaded = dataclasses.replace(load_run(args.run, image_size=config.data.size), config=config)
    if not args.matrix:
        _export(loaded, args, name, out, forms)
        return

    from ttfnet_tf.benchmarks.conformance_matrix import conformance_matrix, validation_images, write_matrix
    from ttfnet_tf.benchmarks.timing import installed_runtime

    split = validation_images(loaded, limit)  # first: a mistake in it should show before the work
    runtime = installed_runtime(args.runtime)
    models = _export(loaded, args, name, out, forms)
    matrix = conformance_matrix(loaded, args.run, models, split, threads=threads, repeats=repeats, runtime=runtime)
    page = write_matrix(matrix, out / name, models)
    print(page.read_text(encoding="utf-8"), end="")
    print(f"written: {page}, matrix.json beside it, and the model cards")


def _check_output(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Raises UserError if a file would be replaced that is no model or table of ours; a SavedModel never replaces anything."""

    hint = "name another folder with --out, or add --overwrite"
    for name in names:
        is_own = _is_model if name.endswith((".tflite", ".onnx")) else _is_beside_matrix
        refuse_to_overwrite(folder / name, "ttfnet export", overwrite=overwrite, is_own=is_own, hint=hint)


def _check_triton(args, name: str, forms: Sequence[tuple[str, str]]) -> None:
    """Raises UserError if --triton has no ONNX file to write, or would replace a configuration of others."""
    if not args.triton:
        return
    precisions = [precision for form, precision in forms if form == "onnx"]
    if not precisions:
        raise UserError("--triton: writes ONNX files; add --format onnx")
    for precision in precisions:
        config = Path(args.triton) / _triton_name(name, precision) / "config.pbtxt"
        hint = "name another folder with --triton, or add --overwrite"
        refuse_to_overwrite(config, "ttfnet export", overwrite=args.overwrite, hint=hint)


def _triton_name(name: str, precision: str) -> str:
    return name if precision == "fp32" else f"{name}_{precision}"


def _is_model(file: Path) -> bool:
    try:
        return find_exported(file) is not None
    except UserError:
        return False


def _is_beside_matrix(file: Path) -> bool:
    try:
        content = read_json(file.with_name("matrix.json"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"rows", "compared_from"} <= set(content)


def _export(loaded, args, name: str, out: Path, forms: Sequence[tuple[str, str]]) -> dict[str, Path]:
    """Writes the models; returns name -> path of each."""
    from ttfnet_tf.progress import working

    written = {}
    for form, precision in forms:
        if form == "saved_model":
            with working(f"writing the SavedModel, {precision}"):
                from ttfnet_tf.export.saved_model import export_saved_model

                path = export_saved_model(loaded, out, name=name, version=args.version, precision=precision)
            print(f"{path}: SavedModel of {args.run}, {precision}, step {loaded.step}; serve {path.parent} as {path.parent.name}")
        elif form == "tflite":
            with working(f"converting to TFLite, {precision}"):
                from ttfnet_tf.export.tflite import export_tflite

                path = export_tflite(loaded, out / name, precision=precision)
            print(f"{path}: TFLite, {precision}")
        else:
            with working(f"converting to ONNX, {precision}"):
                from ttfnet_tf.export.onnx_model import export_onnx

                path = export_onnx(loaded, out / name, precision=precision)
            print(f"{path}: ONNX, {precision}")
            if args.triton:
                from ttfnet_tf.export.triton import write_model

                model = _triton_name(name, precision)
                folder = write_model(path, Path(args.triton), name=model, version=args.version, overwrite=args.overwrite)
                print(f"{folder}: for Triton; tritonserver --model-repository {args.triton}")
        written["saved_model" if (form, precision) == ("saved_model", "fp32") else f"{form} {precision}"] = path
    return written
