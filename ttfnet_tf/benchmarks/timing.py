"""Times several models on one image: each in a process of its own, and all in turn.

Separate processes, because the thread pools of TensorFlow and TFLite slow each other down. In turn, because the speed of a shared machine
changes from minute to minute: this way it changes for all models, and their ratios hold.

Run as a program, this module is one of the processes: it prints a line when it is ready, then answers each line on standard input with the
milliseconds of one call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.inference.onnx_predictor import RUNTIMES as ONNX_RUNTIMES
from ttfnet_tf.inference.onnx_predictor import OnnxPredictor, installed_runtimes
from ttfnet_tf.inference.tflite_predictor import RUNTIMES, interpreter_class

WARM_UP = 3  # calls that optimise the graph, pack weights and fill caches
_READY = "ready"


@dataclass(frozen=True)
class Times:
    """Milliseconds of single calls."""

    milliseconds: tuple[float, ...]

    @property
    def spread(self) -> tuple[float, float, float]:
        """10th percentile, median, 90th percentile."""
        low, middle, high = np.percentile(self.milliseconds, [10, 50, 90])
        return float(low), float(middle), float(high)


def best_runtime() -> str:
    """`litert` if ai-edge-litert is installed, else `tensorflow`; see `tflite_predictor.RUNTIMES`."""
    try:
        interpreter_class("litert")
    except UserError:
        return "tensorflow"
    return "litert"


def installed_runtime(name: str | None) -> str:
    """The runtime of a name, `best_runtime()` without one.

    Raises:
        UserError: it is not installed.
    """
    if name is not None:
        interpreter_class(name)
    return name or best_runtime()


def by_runtime(models: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """The models with each .onnx file once for every runtime that is installed, and the runtime of each of these by name.

    Args:
        models: name -> path.

    Raises:
        UserError: no runtime is installed for an .onnx file.
    """
    forms, runtimes = {}, {}
    for name, path in models.items():
        for runtime in installed_runtimes(path) if path.suffix == ".onnx" else [None]:
            row = f"{name}, {runtime}" if runtime else name
            forms[row] = path
            if runtime:
                runtimes[row] = runtime
    return forms, runtimes


def time_in_turn(
    models: Mapping[str, str | Path],
    *,
    threads: int,
    repeats: int,
    runtime: str = "tensorflow",
    onnx_runtimes: Mapping[str, str] | None = None,
    image_size: tuple[int, int] | None = None,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, Times]:
    """Times every model on an image of noise of its input size, from the image in memory to boxes, on the processor.

    A round calls each model twice and counts the second call: the first brings its weights back into the cache.

    Args:
        models: name -> work directory or checkpoint of a run, SavedModel, .tflite or .onnx file.
        threads: of each process.
        repeats: rounds.
        runtime: of .tflite files, one of `tflite_predictor.RUNTIMES`.
        onnx_runtimes: name -> runtime of each .onnx file, see `by_runtime`.
        image_size: (H, W) in pixels of the input of runs; None is that of training. Exported models have their own.
        on_round: called with the number of finished rounds.

    Returns:
        Name -> times.

    Raises:
        UserError: a model cannot be loaded; the message ends with the last line of its process.
    """
    with ExitStack() as stack:
        processes = {}
        for name, model in models.items():
            # One after the other: together they would load more slowly and need more memory.
            of_model = (onnx_runtimes or {}).get(name, runtime)
            processes[name] = stack.enter_context(_Process(model, threads=threads, runtime=of_model, image_size=image_size))
        times: dict[str, list[float]] = {name: [] for name in models}
        for done in range(1, repeats + 1):
            for name, process in processes.items():
                process.call()
                times[name].append(process.call())
            if on_round is not None:
                on_round(done)
    return {name: Times(tuple(values)) for name, values in times.items()}


class _Process:
    """A model in a process that waits between calls."""

    def __init__(self, model: str | Path, *, threads: int, runtime: str, image_size: tuple[int, int] | None):
        self.model = model
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(model), str(threads), runtime, *map(str, image_size or ())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # Times are of processor threads; and several processes of TensorFlow on one GPU would share its memory with the caller.
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )

    def __enter__(self) -> _Process:
        try:
            while self._line() != _READY:  # skips what libraries print
                pass
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()  # ends the program
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def call(self) -> float:
        """Milliseconds of one call."""
        try:
            self._process.stdin.write("call\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the next line raises the reason
        return float(self._line())

    def _line(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines() or [f"exit code {self._process.returncode}"]
            raise UserError(f"{self.model}: cannot be timed ({said[-1][:300]})")
        return line.strip()


def _call_of(model: str, threads: int, runtime: str, image_size: tuple[int, int] | None) -> Callable[[], object]:
    """A function that detects on one image; for a SavedModel the signature `preprocessed`, whose work is that of the other forms."""
    exported = find_exported(model)
    random = np.random.default_rng(0)
    if exported is not None and exported.path.suffix == ".onnx":
        detect = OnnxPredictor(exported.path, runtime=runtime, num_threads=threads).run
        image = random.integers(0, 256, (1, *exported.image_size, 3), np.uint8)
        return lambda: detect(image)
    if exported is not None and exported.path.is_file():
        interpreter = interpreter_class(runtime)(str(exported.path), num_threads=threads)
        run, image = interpreter.get_signature_runner("serving_default"), random.integers(0, 256, (1, *exported.image_size, 3), np.uint8)
        return lambda: run(image=image)

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if exported is not None:
        signature = tf.saved_model.load(str(exported.path)).signatures["preprocessed"]
        image = tf.constant(random.integers(0, 256, (1, *exported.image_size, 3)), tf.float32)
        return lambda: {name: value.numpy() for name, value in signature(images=image).items()}
    from ttfnet_tf import build
    from ttfnet_tf.inference.predictor import predict_function
    from ttfnet_tf.runs.checkpoint import load_run

    run = load_run(model, image_size=image_size)
    size = run.config.data.size
    decode = build.method_of(run.config, len(run.labels.class_names)).decode
    predict = predict_function(run.model, decode, image_size=size, batch_size=1, weights="constants")
    image = tf.constant(random.integers(0, 256, (1, *size, 3), np.uint8))
    return lambda: {name: value.numpy() for name, value in predict(image).items()}


def main(argv: list[str]) -> None:
    """The program of one process; its arguments are MODEL THREADS RUNTIME [HEIGHT WIDTH]."""
    model, threads, runtime, *size = argv
    if runtime not in RUNTIMES + ONNX_RUNTIMES:
        raise ValueError(f"runtime must be one of {RUNTIMES + ONNX_RUNTIMES}, received {runtime!r}")
    try:
        call = _call_of(model, int(threads), runtime, (int(size[0]), int(size[1])) if size else None)
    except UserError as error:
        sys.exit(str(error))
    for _ in range(WARM_UP):
        call()
    print(_READY, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        print(1000 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
