"""Weights from files into a model and back: what matched, what is missing, what is left over.

`load_pretrained` starts a training from whatever a file has; `load_exactly` wants every tensor to have its place, as a conversion does;
`state_dict` is the way back to the official names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf.errors import UserError
from ttfnet_tf.models.parameters import from_official, named_buffers, named_parameters, to_official
from ttfnet_tf.weights import download, files
from ttfnet_tf.weights.names import Mismatch, darknet53_tensors, for_keras_cv, for_other_input, match, summary

_KERAS_CV_STEM = "stem.conv1_conv.weight"


@dataclass(frozen=True)
class WeightsReport:
    """Where every tensor went; `str()` of it fits on one screen, `lines()` name each."""

    source: str
    matched: tuple[str, ...]  # official names of the tensors that now hold the file's values
    missing: tuple[str, ...]  # the model's that the file lacks: they keep their initial values
    mismatched: tuple[Mismatch, ...]  # of another shape: they keep their initial values too
    left_over: tuple[str, ...]  # the file's without a counterpart
    ignored: tuple[str, ...]  # the file's that no detector has: a classifier, counters of batches, a layer never used
    notes: tuple[str, ...] = ()  # what else happened to the values

    @property
    def is_exact(self) -> bool:
        """Whether every tensor has its place."""
        return not (self.missing or self.mismatched or self.left_over)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.matched)} tensors matched"]
        if self.missing:
            lines.append(f"  {len(self.missing)} missing, left at their initial values: {summary(self.missing)}")
        for mismatch in self.mismatched[:6]:
            lines.append(f"  of another shape, left at its initial values: {_both_shapes(mismatch)}")
        if len(self.mismatched) > 6:
            lines.append(f"  and {len(self.mismatched) - 6} more of another shape")
        for verb, names in (("left over", self.left_over), ("ignored", self.ignored)):
            if names:
                lines.append(f"  {len(names)} {verb}: {summary(names)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def lines(self) -> list[str]:
        """One line for every tensor."""
        return [
            *(f"matched    {name}" for name in self.matched),
            *(f"missing    {name}" for name in self.missing),
            *(f"shape      {_both_shapes(mismatch)}" for mismatch in self.mismatched),
            *(f"left over  {name}" for name in self.left_over),
            *(f"ignored    {name}" for name in self.ignored),
            *(f"note       {note}" for note in self.notes),
        ]


@dataclass(frozen=True, eq=False)
class Source:
    """The content of a file of weights, before anyone knows the model."""

    name: str  # as the user has given it
    tensors: Mapping[str, np.ndarray]  # by the file's own names, OIHW; empty for Darknet's
    darknet: np.ndarray | None = None  # the numbers of a Darknet file

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: array.shape for name, array in self.tensors.items()}


def read_source(source: str | Path, *, tell: Callable[[str], object] = print) -> Source:
    """Reads a file, or `timm/<model>` from the hub.

    Args:
        source: `.npz`, `.safetensors`, `.pth`, Darknet's `.weights` or `.conv.74`, or `timm/<model>`.
        tell: called with one line when a download begins.

    Raises:
        UserError: no such file or model, damaged, or not plain tensors.
    """
    if download.is_hub_name(str(source)):
        return Source(str(source), files.read_tensors(download.fetch(str(source), tell=tell)))
    if files.is_darknet(source):
        return Source(str(source), {}, files.read_darknet(source).values)
    return Source(str(source), files.read_tensors(source))


def load_pretrained(model: tf.keras.Model, source: str | Path | Source, prefix: str = "backbone.") -> WeightsReport:
    """Copies what a file has into the model: a backbone, a part of one, or a whole detector.

    Of a detector for other classes, the last layers of the heads keep their initial values and are named in the report.

    Args:
        model: from `build_model`.
        source: as of `read_source`; names and layouts are torchvision's, timm's, Darknet's or the official detector's.
        prefix: where a backbone's names hang in the model.

    Returns:
        What was loaded and what was not.

    Raises:
        UserError: what `read_source` raises, no name that fits, a tensor of another shape that does not follow from the classes, or
            values that are not finite. The model is unchanged then.
    """
    report, values = _plan(model, source, prefix)
    for mismatch in report.mismatched:
        if not mismatch.depends_on_classes():
            raise UserError(
                f"{report.source}: {mismatch.name.removeprefix(prefix)} has the shape {mismatch.found}, this model needs "
                f"{mismatch.needed}; does the file belong to another backbone?"
            )
    _assign(model, values)
    return report


def load_exactly(model: tf.keras.Model, source: str | Path | Source, *, partial: bool = False, prefix: str = "backbone.") -> WeightsReport:
    """Copies a file into the model if every tensor of either side has its counterpart.

    Args:
        model: from `build_model`.
        source: as of `read_source`.
        partial: whether missing, left over and differently shaped tensors are accepted.
        prefix: where a backbone's names hang in the model; of a backbone, the rest of the model is not asked for.

    Raises:
        UserError: what `read_source` raises, no name that fits, tensors without a counterpart unless `partial`, or values that are
            not finite. The model is unchanged then.
    """
    report, values = _plan(model, source, prefix)
    if not (report.is_exact or partial):
        raise UserError(f"{report.source}: {_complaint(report)}; change the configuration, or take what fits with --partial")
    _assign(model, values)
    return report


def state_dict(model: tf.keras.Model) -> dict[str, np.ndarray]:
    """All weights under the official names and in the official layouts.

    Each normalisation also gets the counter of batches that PyTorch keeps, at 0: nothing here or in the official code reads it.
    """
    variables = _variables(model)
    state = {name: np.ascontiguousarray(to_official(name, variable.numpy())) for name, variable in variables.items()}
    counters = {f"{name.rpartition('.')[0]}.num_batches_tracked": np.zeros((), np.int64) for name in named_buffers(model)}
    return {**state, **counters}


def _plan(model, source, prefix) -> tuple[WeightsReport, dict[str, np.ndarray]]:
    """The report of a load, and name in the model -> checked array of the file."""
    if not isinstance(source, Source):
        source = read_source(source)
    needed = {name: to_official(name, variable.numpy()).shape for name, variable in _variables(model).items()}
    tensors, notes = _in_our_terms(model, source, needed, prefix)
    found = match({name: array.shape for name, array in tensors.items()}, needed, prefix)
    if not (found.pairs or found.mismatched):
        example = next((name for name in needed if name.startswith(prefix)), prefix)[len(prefix) :]
        raise UserError(
            f"{source.name}: none of its {len(tensors)} names is one of this model's, such as {example}; does it belong to another network?"
        )
    for name in found.pairs.values():
        _check(source.name, name, tensors[name])
    report = WeightsReport(source.name, tuple(found.pairs), found.missing, found.mismatched, found.left_over, found.ignored, tuple(notes))
    return report, {own: tensors[name] for own, name in found.pairs.items()}


def _in_our_terms(model, source, needed, prefix) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The tensors of a source by names that `match` knows and for our images, and what there is to say about it."""
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
        return tensors, [note for note in (rest, "the stem was changed from images in 0..1 to normalised ones") if note]
    if _KERAS_CV_STEM in shapes and (tensors := for_keras_cv(source.tensors)).keys() & {_KERAS_CV_STEM} - source.tensors.keys():
        tensors = for_other_input(tensors, 255 * scale, offset, convolution="stem.conv1_conv", normalization="stem.conv1_bn")
        return tensors, ["the stem was changed from normalised images to ones in 0..1, which keras-cv's backbones take"]
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


def _complaint(report: WeightsReport) -> str:
    """How many tensors have no counterpart, with the first of each sort."""
    parts = []
    if report.mismatched:
        parts.append(f"{len(report.mismatched)} tensors have another shape ({_both_shapes(report.mismatched[0])})")
    if report.missing:
        parts.append(f"{len(report.missing)} of the model are missing ({report.missing[0]})")
    if report.left_over:
        parts.append(f"{len(report.left_over)} of the file are left over ({report.left_over[0]})")
    return ", ".join(parts)


def _both_shapes(mismatch: Mismatch) -> str:
    return f"{mismatch.name} {list(mismatch.found)}, the model has {list(mismatch.needed)}"
