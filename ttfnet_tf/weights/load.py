"""Loads third-party weights into a model, and reports which tensors matched, which are missing and which are unused.

`load_pretrained` takes what a file has, to start training from it. `load_exactly` requires a match for every tensor, as a conversion
does. `state_dict` is the way back: the model's weights under their official names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf.errors import UserError
from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.parameters import from_official, named_buffers, named_parameters, to_official
from ttfnet_tf.runs.checkpoint import load_run
from ttfnet_tf.weights import download, files
from ttfnet_tf.weights.exported import network_of_saved_model, saved_model_folder
from ttfnet_tf.weights.names import Mismatch, darknet53_tensors, for_keras_cv, for_other_input, match, summary

_KERAS_CV_STEM = "stem.conv1_conv.weight"


@dataclass(frozen=True)
class WeightsReport:
    """What became of every tensor. `str()` is a summary for one screen, `lines()` lists every tensor."""

    source: str
    matched: tuple[str, ...]  # official names of the tensors that were loaded
    missing: tuple[str, ...]  # in the model and not in the file: they keep their initial values
    mismatched: tuple[Mismatch, ...]  # shapes differ: they keep their initial values
    unused: tuple[str, ...]  # in the file and not in the model
    ignored: tuple[str, ...]  # in the file, and in no detector: classifiers, batch counters, layers that nothing uses
    notes: tuple[str, ...] = ()  # how the values were changed

    @property
    def is_exact(self) -> bool:
        """Whether every tensor of the model and of the file has a match."""
        return not (self.missing or self.mismatched or self.unused)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.matched)} tensors matched"]
        if self.missing:
            lines.append(f"  {len(self.missing)} missing, keep their initial values: {summary(self.missing)}")
        for mismatch in self.mismatched[:6]:
            lines.append(f"  shape differs, keeps its initial values: {_both_shapes(mismatch)}")
        if len(self.mismatched) > 6:
            lines.append(f"  and {len(self.mismatched) - 6} more whose shapes differ")
        for verb, names in (("unused", self.unused), ("ignored", self.ignored)):
            if names:
                lines.append(f"  {len(names)} {verb}: {summary(names)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def lines(self) -> list[str]:
        """One line for every tensor."""
        return [
            *(f"matched  {name}" for name in self.matched),
            *(f"missing  {name}" for name in self.missing),
            *(f"shape    {_both_shapes(mismatch)}" for mismatch in self.mismatched),
            *(f"unused   {name}" for name in self.unused),
            *(f"ignored  {name}" for name in self.ignored),
            *(f"note     {note}" for note in self.notes),
        ]


@dataclass(frozen=True, eq=False)
class Source:
    """The content of a weight file, not yet matched with a model."""

    name: str  # as the user wrote it
    tensors: Mapping[str, np.ndarray]  # by the names in the file, kernels [out, in, H, W]; empty for a Darknet file
    darknet: np.ndarray | None = None  # float32 [N], the values of a Darknet file
    class_names: tuple[str, ...] = ()  # of a run or an exported model
    notes: tuple[str, ...] = ()  # how the values were changed already

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: array.shape for name, array in self.tensors.items()}


def read_source(source: str | Path, *, on_message: Callable[[str], object] = print) -> Source:
    """Reads a weight file, a run or an exported model, or downloads `timm/<model>`.

    Args:
        source: `.npz`, `.safetensors`, `.pth`, Darknet's `.weights` or `.conv.74`, a work directory or one checkpoint in it, an exported
            SavedModel, or `timm/<model>`.
        on_message: called with one line when a download starts.

    Raises:
        UserError: the file or model does not exist, is damaged, or holds more than plain tensors.
    """
    if download.is_hub_name(str(source)):
        return Source(str(source), files.read_tensors(download.fetch(str(source), on_message=on_message)))
    if is_run(source):
        run = load_run(source)
        return Source(str(source), official_tensors(run.model), class_names=run.labels.class_names)
    if (folder := saved_model_folder(source)) is not None:
        model, class_names = network_of_saved_model(folder)
        return Source(str(source), official_tensors(model), class_names=class_names)
    if files.is_darknet(source):
        return Source(str(source), {}, files.read_darknet(source).values)
    return Source(str(source), files.read_tensors(source))


def official_tensors(model: keras.Model) -> dict[str, np.ndarray]:
    """The values of a network by official names, in the official layouts."""
    return {name: to_official(name, variable.numpy()) for name, variable in _variables(model).items()}


def is_run(source: str | Path) -> bool:
    """Whether the source is a work directory or a checkpoint in one."""
    path = Path(source)
    return (path / "config.yaml").is_file() or path.suffix == ".index" or path.with_name(f"{path.name}.index").is_file()


def load_pretrained(model: keras.Model, source: str | Path | Source, prefix: str = "backbone.") -> WeightsReport:
    """Loads what a file has into the model: a backbone, a part of one, or a whole detector.

    If the file's detector has other classes, the last layers of the heads keep their initial values, and the report lists them.

    Args:
        model: from `build_model`.
        source: see `read_source`; names and layouts of torchvision, timm, Darknet or the official detector.
        prefix: of the backbone's names in the model.

    Returns:
        What was loaded and what was not.

    Raises:
        UserError: as `read_source`; or no name matches, a shape differs for another reason than the classes, or a value is not finite.
            The model is unchanged then.
    """
    report, values = _plan(model, source, prefix)
    for mismatch in report.mismatched:
        if not mismatch.depends_on_classes():
            question = (
                "is the file for another backbone" if mismatch.name.startswith(prefix) else "was it trained with other settings model.*"
            )
            raise UserError(
                f"{report.source}: {mismatch.name.removeprefix(prefix)} has the shape {mismatch.found}, and this model needs "
                f"{mismatch.needed}; {question}?"
            )
    _assign(model, values)
    return report


def load_exactly(model: keras.Model, source: str | Path | Source, *, partial: bool = False, prefix: str = "backbone.") -> WeightsReport:
    """Loads a file if every tensor of the file and of the model has a match.

    Args:
        model: from `build_model`.
        source: see `read_source`.
        partial: whether to accept missing tensors, unused ones and shapes that differ.
        prefix: of the backbone's names in the model. If the file holds a backbone alone, only these names have to match.

    Raises:
        UserError: as `read_source`; or no name matches, a tensor has no match and `partial` is off, or a value is not finite. The model
            is unchanged then.
    """
    report, values = _plan(model, source, prefix)
    if not (report.is_exact or partial):
        raise UserError(
            f"{report.source}: tensors do not match ({_without_match(report)}); change the configuration, or load what fits with --partial"
        )
    _assign(model, values)
    return report


def state_dict(model: keras.Model) -> dict[str, np.ndarray]:
    """All weights under the official names, in the official layouts.

    Each batch normalisation also gets PyTorch's batch counter, with the value 0: no code here or there reads it.
    """
    variables = _variables(model)
    state = {name: np.ascontiguousarray(to_official(name, variable.numpy())) for name, variable in variables.items()}
    counters = {f"{name.rpartition('.')[0]}.num_batches_tracked": np.zeros((), np.int64) for name in named_buffers(model)}
    return {**state, **counters}


def _plan(model, source, prefix) -> tuple[WeightsReport, dict[str, np.ndarray]]:
    """(report, name in the model -> checked array of the file) of a load."""
    if not isinstance(source, Source):
        source = read_source(source)
    needed = {name: to_official(name, variable.numpy()).shape for name, variable in _variables(model).items()}
    tensors, notes = _under_known_names(model, source, needed, prefix)
    found = match({name: array.shape for name, array in tensors.items()}, needed, prefix)
    if not (found.pairs or found.mismatched):
        example = next((name for name in needed if name.startswith(prefix)), prefix)[len(prefix) :]
        raise UserError(
            f"{source.name}: none of its {len(tensors)} names is in this model, which has names such as {example}; is the file for another "
            "network?"
        )
    for name in found.pairs.values():
        _check(source.name, name, tensors[name])
    lines = (*source.notes, *notes)
    report = WeightsReport(source.name, tuple(found.pairs), found.missing, found.mismatched, found.unused, found.ignored, lines)
    return report, {own: tensors[name] for own, name in found.pairs.items()}


def _under_known_names(model, source, needed, prefix) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """(tensors, notes): tensors under names that `match` knows, for images that are normalised as the model does it."""
    shapes = {name.removeprefix(prefix): shape for name, shape in needed.items() if name.startswith(prefix)}
    normalization = model.get_layer("normalization")
    scale, offset = np.array(normalization.scale), np.array(normalization.offset)  # normalised = scale * pixel + offset
    if source.darknet is not None:
        try:
            tensors, rest = darknet53_tensors(source.darknet, shapes)
        except ValueError as error:
            raise UserError(f"{source.name}: {error}") from None
        unit = 1 / (255 * scale)
        tensors = for_other_input(tensors, unit, -offset * unit, convolution="stem.conv", normalization="stem.bn")
        return tensors, [note for note in (rest, "the stem was converted from images in 0..1 to normalised images") if note]
    if _KERAS_CV_STEM in shapes and (tensors := for_keras_cv(source.tensors)).keys() & {_KERAS_CV_STEM} - source.tensors.keys():
        tensors = for_other_input(tensors, 255 * scale, offset, convolution="stem.conv1_conv", normalization="stem.conv1_bn")
        return tensors, ["the stem was converted from normalised images to images in 0..1, which keras-cv's backbones take"]
    return source.tensors, []


def _variables(model) -> dict[str, tf.Variable]:
    return {**named_parameters(model), **named_buffers(model)}


def _assign(model, values: Mapping[str, np.ndarray]) -> None:
    variables = _variables(model)
    for name, array in values.items():
        variables[name].assign(from_official(name, array.astype(np.float32)))


def _check(source, name, array):
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise UserError(f"{source}: {name} ({array.dtype}) holds values that are not finite numbers; the file is damaged")


def _without_match(report: WeightsReport) -> str:
    """How many tensors have no match, with one example of each kind."""
    parts = []
    if report.mismatched:
        parts.append(f"shape differs: {len(report.mismatched)} ({_both_shapes(report.mismatched[0])})")
    if report.missing:
        parts.append(f"missing in the file: {len(report.missing)} ({report.missing[0]})")
    if report.unused:
        parts.append(f"not in the model: {len(report.unused)} ({report.unused[0]})")
    return "; ".join(parts)


def _both_shapes(mismatch: Mismatch) -> str:
    return f"{mismatch.name} {list(mismatch.found)}, the model has {list(mismatch.needed)}"
