"""What `ttfnet fit` decides, as pure functions of what the data and the machine are. docs/fit.md states each rule in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIDES = (96, 128, 160, 192, 224, 256, 320, 384, 512)  # px; square roots of the areas that an input may have
LEAST_SIDE = 64  # px
NEEDED = 0.95  # of the highest ceiling, which the input size should allow
WANTED_STEPS = 140  # times the square root of the minutes: a larger input is not worth fewer steps
OVERHEAD = 4_500  # px that take as long as what a step does for an image of any size
LEAST_STEPS = 120  # with fewer, the input becomes smaller than the boxes need
CPU_BATCH, GPU_BATCH = 8, 32
END_SECONDS = 40.0  # of start, compilation, last evaluation, report and export: for the estimate, which the run replaces by measuring
FEW_BOXES = 100  # of a class; what labelling guides call a prototype
CACHE = 0.25  # of the free memory
LONG_EPOCHS = 150  # from so many on, colours change too


@dataclass(frozen=True)
class DataFacts:
    """What is known about the data before training."""

    train_images: int
    val_images: int
    empty_images: int  # of training, without a box
    boxes_of_class: tuple[int, ...]  # of training
    image_size: tuple[int, int]  # (height, width) in pixels, medians over the training images
    ceilings: Mapping[tuple[int, int], float]  # input size -> the AP that its targets allow, 0..1


@dataclass(frozen=True)
class MachineFacts:
    """What is known about the machine before training."""

    pixel_seconds: float  # of a training step on all devices, for one pixel of one image, `OVERHEAD` included
    on_gpu: bool
    free_memory: int  # bytes
    devices: int = 1  # that share a batch


@dataclass(frozen=True)
class Decision:
    """One line, and the settings that follow from it."""

    values: Mapping[str, Any]
    line: str


def candidate_sizes(image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Input sizes of the shape of the images, ascending: multiples of 32 px, up to the first as large as the images.

    Args:
        image_size: (height, width) of the images in pixels.
    """
    height, width = image_size
    stretch = math.sqrt(min(max(height / width, 0.25), 4.0))
    sizes: list[tuple[int, int]] = []
    for side in SIDES:
        size = _multiple(side * stretch), _multiple(side / stretch)
        if size not in sizes:
            sizes.append(size)
        if side >= 128 and side * side >= height * width:
            break
    return sizes


def decide(
    data: DataFacts,
    machine: MachineFacts,
    *,
    minutes: float,
    pretrained: str | None = None,
    is_detector: bool = False,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> list[Decision]:
    """Every decision, in the order in which they follow from each other.

    Args:
        data: see there.
        machine: see there.
        minutes: of the whole run.
        pretrained: weights that the user named.
        is_detector: whether they are those of a whole detector, and not of a backbone only.
        image_size: (height, width) that the user named.
        batch_size: that the user named.
    """
    batch = min(GPU_BATCH if machine.on_gpu else CPU_BATCH, data.train_images)
    batch = batch_size or max(batch // machine.devices, 1) * machine.devices

    def steps_at(size: tuple[int, int]) -> int:
        return steps_in(minutes, size, batch_size=batch, machine=machine)

    decisions = []
    if image_size is None:
        image_size, decision = _input_size(data, steps_at, round(WANTED_STEPS * math.sqrt(minutes)))
        decisions.append(decision)
    steps = steps_at(image_size)
    epochs = steps * batch / max(data.train_images, 1)
    reason = "as many as a GPU uses well" if machine.on_gpu else "larger ones are no faster on a CPU, and give fewer steps"
    decisions.append(Decision({"train.batch_size": batch}, f"batch {batch}: {reason}"))
    decisions.append(Decision({"train.precision": "auto"}, "precision auto: the run takes bfloat16 where it measures that it is faster"))
    photometric = epochs >= LONG_EPOCHS
    decisions += [_augmentation(data, epochs, photometric), _cache(data, machine, image_size, photometric)]
    decisions += [_start(pretrained, is_detector, batch), _schedule(steps, epochs), _average(steps)]
    decisions.append(
        Decision(
            {"model.box_gradient": "recover", "train.on_divergence": "rollback", "data.broken_images": "skip"},
            "safety: no side of the boxes can die, a loss that explodes goes back to the last checkpoint, unreadable images are skipped",
        )
    )
    decisions.append(
        Decision(
            {"train.summary_images": 4 if minutes >= 10 else 0, "train.keep_checkpoints": 2},
            "files: the best checkpoint and the last two; images for TensorBoard from 10 minutes on, because they take seconds",
        )
    )
    return decisions


def steps_in(minutes: float, size: tuple[int, int], *, batch_size: int, machine: MachineFacts) -> int:
    """An estimate of the steps that a run has time for.

    Args:
        minutes: of the whole run.
        size: (height, width) of the input in pixels.
        batch_size: images of a step.
        machine: see there.
    """
    seconds = max(60 * minutes - END_SECONDS, 30 * minutes)
    return max(int(seconds / (machine.pixel_seconds * batch_size * (_area(size) + OVERHEAD))), 1)


def too_little(boxes_of_class: Sequence[int]) -> str | None:
    """A line where classes have too few boxes to expect much, else None.

    Args:
        boxes_of_class: boxes of training of each class.
    """
    counts = sorted(boxes_of_class)
    few = sum(count < FEW_BOXES for count in counts)
    if not counts or 2 * few < len(counts):
        return None
    median = counts[len(counts) // 2]
    return (
        f"too little data for {len(counts)} class{'es' * (len(counts) > 1)}: {few} of them have fewer than {FEW_BOXES} boxes, half have at "
        f"most {median}; expect a low AP, label more images, or merge classes with data.classes"
    )


def _multiple(side: float) -> int:
    return max(round(side / 32) * 32, LEAST_SIDE)


def _input_size(data: DataFacts, steps_at: Callable[[tuple[int, int]], int], wanted: int) -> tuple[tuple[int, int], Decision]:
    """The largest size with enough steps; at least what the boxes need, as long as some hundred steps are left."""
    sizes = sorted(data.ceilings, key=lambda size: size[0] * size[1])
    best = max(data.ceilings.values())
    needed = next(size for size in sizes if data.ceilings[size] >= NEEDED * best)
    comfortable = [size for size in sizes if steps_at(size) >= wanted]
    possible = [size for size in sizes if steps_at(size) >= LEAST_STEPS]
    if comfortable and _area(comfortable[-1]) >= _area(needed):
        size, why = comfortable[-1], f"the largest with {wanted} steps in the time"
    elif comfortable and _area(possible[-1]) >= _area(needed):
        size, why = needed, f"the smallest whose ceiling is {NEEDED:.0%} of the best"
    elif possible:
        more = f"; the boxes need {_text(needed)}, give it more minutes" if _area(possible[-1]) < _area(needed) else ""
        size, why = possible[-1], f"the largest with {LEAST_STEPS} steps in the time{more}"
    else:
        size, why = sizes[0], f"the time is too short for {LEAST_STEPS} steps at any size"
    height, width = data.image_size
    line = f"input {_text(size)} px of images of {height} x {width} (ceiling AP {data.ceilings[size]:.2f} of {best:.2f}): {why}"
    return size, Decision({"data.image_size": list(size)}, line)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _augmentation(data: DataFacts, epochs: float, photometric: bool) -> Decision:
    empty = data.empty_images and data.empty_images <= data.train_images
    values = {"augment.flip": 0.5, "augment.photometric": photometric, "data.empty_images": "keep" if empty else "drop"}
    words = ["horizontal flips"]
    if photometric:
        words.append(f"changes of colour (about {epochs:.0f} epochs)")
    if empty:
        words.append(f"{data.empty_images} images without a box as background")
    return Decision(values, f"augmentation: {', '.join(words)}; augment.flip=0 where left and right matter")


def _cache(data: DataFacts, machine: MachineFacts, size: tuple[int, int], photometric: bool) -> Decision:
    needed = 3 * _area(size) * (data.train_images + data.val_images)
    fits = needed <= CACHE * machine.free_memory
    amount = f"resized images take {needed / 1e6:.0f} MB"
    if photometric:
        line = "cache none: colours change before the resize"
    elif fits:
        line = f"cache ram: {amount}, less than a quarter of the free memory"
    else:
        line = f"cache none: {amount}, more than a quarter of the free memory"
    return Decision({"data.cache": "ram" if fits and not photometric else "none"}, line)


@dataclass(frozen=True)
class _Optimizer:
    """What a start bears; the rate is for batches of `CPU_BATCH`."""

    name: str
    rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float


_FROM_SCRATCH = _Optimizer("sgd", 0.006, 4e-4, 150, 10.0)  # configs/demo.yaml
_FROM_BACKBONE = _Optimizer("sgd", 0.008, 4e-4, 100, 10.0)  # configs/fast.yaml
_FROM_DETECTOR = _Optimizer("adamw", 0.0007, 0.05, 20, 35.0)  # docs/benchmarks/fine_tuning.md


def _start(pretrained: str | None, is_detector: bool, batch: int) -> Decision:
    """Weights, and the optimizer that they bear."""
    optimizer = _FROM_SCRATCH if pretrained is None else _FROM_DETECTOR if is_detector else _FROM_BACKBONE
    rate = round(optimizer.rate * (math.sqrt(batch / CPU_BATCH) if batch > CPU_BATCH else batch / CPU_BATCH), 6)
    values = {
        "model.frozen_stages": -1,
        "model.zero_init_residual": pretrained is not None,
        "optim.name": optimizer.name,
        "optim.lr": rate,
        "optim.lr_batch_size": batch,
        "optim.weight_decay": optimizer.weight_decay,
        "optim.clip_norm": optimizer.clip_norm,
        "optim.warmup_steps": optimizer.warmup_steps,
        "optim.warmup_ratio": 0.02,
    }
    start = "from scratch" if pretrained is None else f"from {pretrained}, no stage frozen"
    more = "; model.pretrained=FILE gives more" if pretrained is None else ""
    limits = f"learning rate {rate:g} after {optimizer.warmup_steps} steps, gradients clipped at {optimizer.clip_norm:g}"
    return Decision(values, f"{start}: {optimizer.name}, {limits}{more}")


def _schedule(steps: int, epochs: float) -> Decision:
    values = {"optim.schedule": "trapezoid", "optim.cooldown": 0.3}
    line = f"schedule: about {steps} steps ({epochs:.0f} epochs); at most 20 % warm up, the last 30 % go down to 0 as the time ends"
    return Decision(values, line)


def _average(steps: int) -> Decision:
    decay = round(1 - 1 / min(max(0.02 * steps, 10), 2000), 4)
    return Decision({"optim.ema_decay": decay}, f"moving average with decay {decay:g}: over about a fiftieth of the steps")
