"""Time and size of a network in every exported form, before training: random weights take as long as trained ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttfnet_tf import build
from ttfnet_tf.benchmarks.conformance_matrix import conditions, megabytes
from ttfnet_tf.benchmarks.timing import by_runtime, time_in_turn
from ttfnet_tf.config import Config
from ttfnet_tf.export.forms import PRECISIONS, installed_formats
from ttfnet_tf.export.saved_model import export_saved_model
from ttfnet_tf.export.tflite import export_tflite
from ttfnet_tf.progress import ProgressMeter, working
from ttfnet_tf.runs.checkpoint import LoadedRun
from ttfnet_tf.runs.run_folder import Labels

_COLUMN = 24  # width of the names
_CALIBRATION_IMAGES = 4  # of noise, for the scales of int8, which do not change the time


def benchmark_export(config: Config, *, num_classes: int, precisions: Sequence[str], threads: int, repeats: int, runtime: str) -> str:
    """Times every form of the configured network whose packages are installed; shows progress.

    Args:
        config: settings of a run.
        num_classes: of the network.
        precisions: of all formats, see `forms.PRECISIONS`; the SavedModel in fp32 is always timed.
        threads, repeats, runtime: see `timing.time_in_turn`.

    Returns:
        A table to print: milliseconds per image (median, 10th and 90th percentile), the median ratio to the SavedModel's call in the same
        round, and MB.
    """
    model = build.model_of(config, num_classes)
    labels = Labels(tuple(f"class {number}" for number in range(1, num_classes + 1)), tuple(range(1, num_classes + 1)))
    noise = np.random.default_rng(0).integers(0, 256, (_CALIBRATION_IMAGES, 1, *config.data.image_size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        run = LoadedRun(config, labels, model, 0, Path(folder) / "run")
        with working("writing the SavedModel"):
            models = {"saved_model": export_saved_model(run, Path(folder), name="network")}
        if "bf16" in precisions:
            with working("writing the SavedModel, bf16"):
                models["saved_model bf16"] = export_saved_model(run, Path(folder), name="network", precision="bf16")
        for precision in (one for one in PRECISIONS["tflite"] if one in precisions):
            with working(f"converting to TFLite, {precision}"):
                models[f"tflite {precision}"] = export_tflite(run, Path(folder), precision=precision, representative=list(noise))
        if "onnx" in installed_formats():
            from ttfnet_tf.export.onnx_model import export_onnx

            for precision in (one for one in PRECISIONS["onnx"] if one in precisions):
                with working(f"converting to ONNX, {precision}"):
                    models[f"onnx {precision}"] = export_onnx(run, Path(folder), precision=precision, representative=list(noise))
        models, runtimes = by_runtime(models)
        with ProgressMeter("time", repeats, images_per_step=2 * len(models)) as meter:
            times = time_in_turn(models, threads=threads, repeats=repeats, runtime=runtime, onnx_runtimes=runtimes, on_round=meter.update)
        reference = np.array(times["saved_model"].milliseconds)
        lines = [f"{'':{_COLUMN}} {'ms per image':>28}  of saved_model      MB"]
        for name, path in models.items():
            low, median, high = times[name].spread
            ratio = float(np.median(np.array(times[name].milliseconds) / reference))
            lines.append(f"{name:{_COLUMN}} {median:9.1f} ({low:7.1f} .. {high:7.1f})  {ratio:14.2f}  {megabytes(path):6.1f}")
    about = conditions(threads=threads, repeats=repeats, runtime=runtime, onnx_runtimes=runtimes.values())
    programs = ", ".join([about["runtime"], *about["onnx_runtimes"]])
    lines.append(f"median (10th .. 90th percentile) of {repeats} calls in turn, {threads} threads, {programs}; {about['machine']}")
    return "\n".join(lines)
