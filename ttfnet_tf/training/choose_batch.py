"""What `train.batch_size: auto` trains with: on GPUs the largest batch that fits, on a CPU a fixed one.

Run as a program, this module tries batches on the first GPU: in a process of its own, because TensorFlow keeps what it has taken of a GPU's
memory until its process ends.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config, dump_config
from ttfnet_tf.config.load import load_stored
from ttfnet_tf.config.schema import with_value
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.inference.on_replicas import OUT_OF_MEMORY
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.devices import build_strategy

CPU_BATCH = 16  # images of a replica, as in the official recipe: fewer make poor statistics, more are no faster on a CPU
_MULTIPLE = 8  # of which batches on GPUs are, where so many images exist
_MARGIN = 0.9  # of the largest batch that fits: memory that is in pieces holds a little less after hours than at the start
_ANSWER = "largest batch"
_BOXES = 128  # of an image, where targets are drawn on the device


def choose_batch_size(config: Config, strategy: tf.distribute.Strategy, *, num_classes: int, num_images: int) -> tuple[int, str]:
    """The batch of a step for the devices of `strategy`.

    Args:
        config: settings of a run, with its precision decided.
        strategy: of the run.
        num_classes: C.
        num_images: of training; a batch is no larger.

    Returns:
        Images of a step over all replicas, and the line that says so.

    Raises:
        UserError: not even one image fits.
    """
    replicas = strategy.num_replicas_in_sync
    most = max(1, num_images // replicas)
    if not any("GPU" in device.upper() for device in strategy.extended.worker_devices):
        size = min(CPU_BATCH, most)
        reason = f"{size} images are enough for statistics of normalisation, and larger batches are no faster on a CPU"
    else:
        size = with_margin(_try_in_process(config, num_classes, most))
        reason = "the largest batch that fits, less a tenth"
    of_each = f"{size} on each of {replicas} devices; " if replicas > 1 else ""
    return size * replicas, f"train.batch_size=auto: {size * replicas} ({of_each}{reason}); the learning rate follows it"


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """The largest batch up to `most` that fits, to within `_MULTIPLE`; 0 if none does. Doubles it, then halves the interval."""
    good, size = 0, min(_MULTIPLE, most)
    while size <= most and fits(size):
        good, size = size, most if good < most < 2 * size and size != most else 2 * size
    bad = size
    if not good:
        return next((size for size in (4, 2, 1) if size < min(_MULTIPLE, most) + 1 and fits(size)), 0)
    while bad <= most and bad - good > _MULTIPLE:
        middle = (good + bad) // 2 // _MULTIPLE * _MULTIPLE
        middle = middle if middle > good else good + _MULTIPLE
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def with_margin(size: int) -> int:
    """A tenth less, as a multiple of 8 where it is above 8."""
    less = int(_MARGIN * size)
    return max(1, less // _MULTIPLE * _MULTIPLE if less > _MULTIPLE else less)


def try_batches(config: Config, num_classes: int, most: int, device: str) -> int:
    """The largest batch that one training step takes on `device`, see `largest_that_fits`."""
    strategy = build_strategy("mirrored", [device])
    state = training_build.state_of(config, strategy, num_classes)
    method = build.method_of(config, num_classes)
    train = training_build.train_function_of(config, strategy, state, method)
    fitted: list[int] = []

    def fits(size: int) -> bool:
        dataset = tf.data.Dataset.from_tensors(_batch(config, method, size)).repeat()
        try:
            with strategy.scope():
                train(iter(strategy.experimental_distribute_dataset(dataset)), [0.0, 0.0], 0)["loss"]
        except OUT_OF_MEMORY as error:
            if not fitted and not isinstance(error, tf.errors.ResourceExhaustedError):
                raise
            return False
        fitted.append(size)
        return True

    return largest_that_fits(fits, most)


def _batch(config: Config, method, size: int) -> dict[str, np.ndarray]:
    """Grey images with boxes."""
    height, width = config.data.size
    batch: dict[str, np.ndarray] = {
        "image": np.full([size, height, width, 3], 128, np.uint8),
        "boxes": np.tile(np.array([4, 4, 27, 27], np.float32), [size, _BOXES, 1]),
        "labels": np.zeros([size, _BOXES], np.int32),
    }
    if config.targets.backend != "device":
        batch |= {name: np.zeros([size, *shape], np.float32) for name, shape in method.target_shapes.items()}
    return batch


def _try_in_process(config: Config, num_classes: int, most: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        write_text(file, dump_config(with_value(with_value(config, "train.batch_size", 1), "train.devices", [])))
        device = (config.train.devices or ["gpu:0"])[0]
        command = [sys.executable, "-m", __name__, str(file), str(num_classes), str(most), device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    answers = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
        raise UserError(f"train.batch_size=auto: no batch could be tried ({reason}); name a number")
    if answers[-1] == "0":
        raise UserError("train.batch_size=auto: not even one image fits on the GPU; lower data.image_size, or free its memory")
    return int(answers[-1])


def main(argv: list[str]) -> None:
    """The program; its arguments are CONFIG NUM_CLASSES MOST DEVICE."""
    file, num_classes, most, device = argv
    print(_ANSWER, try_batches(load_stored(file), int(num_classes), int(most), device))


if __name__ == "__main__":
    main(sys.argv[1:])
