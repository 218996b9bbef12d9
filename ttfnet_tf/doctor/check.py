"""The whole data check: annotations and images of a training set, and of a validation set if there is one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttfnet_tf.doctor.annotations import check_annotations, read_annotations
from ttfnet_tf.doctor.duplicate_images import check_duplicates, check_leaks
from ttfnet_tf.doctor.findings import Finding, Findings, Settings
from ttfnet_tf.doctor.image_files import ImageFacts, check_image_files, inspect_images, look_for_missing
from ttfnet_tf.doctor.inventory import Inventory
from ttfnet_tf.errors import UserError


@dataclass
class Split:
    """One annotation file and what was found in it."""

    name: str  # "train" or "val"
    annotations: Path
    images: Path
    findings: Findings
    content: Any  # the parsed file
    inventory: Inventory  # what is sound in it
    facts: list[ImageFacts]  # of `inventory.images`; empty if no image was opened
    settings: Settings = field(default_factory=Settings)
    with_images: bool = False  # whether the image files are opened
    other: Split | None = None  # of a training set: the validation set that it was compared with

    def summary(self) -> str:
        """One line: what was checked."""
        inventory = self.inventory
        opened = "images opened" if self.facts else "images not opened"
        counts = f"{len(inventory.images)} images, {inventory.annotations} annotations, {len(inventory.categories)} categories"
        return f"{self.name}: {self.annotations}: {counts}; {opened}"


@dataclass
class Report:
    """All findings of `check_data`."""

    splits: list[Split]  # the training one first

    def findings(self) -> list[Finding]:
        return [finding for split in self.splits for finding in split.findings]

    def count(self, severity: str) -> int:
        """Number of kinds of findings of that severity, counted for each file."""
        return sum(finding.severity == severity for finding in self.findings())

    def exit_code(self, strict: bool = False) -> int:
        """0, or 2 if there are errors (with `strict`: or warnings)."""
        return 2 if self.count("error") or (strict and self.count("warning")) else 0

    def to_json(self) -> dict:
        splits = [
            {
                "split": split.name,
                "annotations": str(split.annotations),
                "images": str(split.images),
                "image_count": len(split.inventory.images),
                "annotation_count": split.inventory.annotations,
                "categories": len(split.inventory.categories),
                "images_opened": len(split.facts),
            }
            for split in self.splits
        ]
        counts = {f"{severity}s": self.count(severity) for severity in ("error", "warning", "note")}
        return {"splits": splits, **counts, "findings": [finding.to_json() for finding in self.findings()]}


def check_data(
    train: tuple[str | Path, str | Path],
    val: tuple[str | Path, str | Path] | None = None,
    *,
    settings: Settings | None = None,
    with_images: bool = True,
    workers: int = 0,
    on_start: Callable[[int], None] | None = None,
    on_image: Callable[[int], None] | None = None,
) -> Report:
    """Finds what would stop training, and what training would not notice.

    Args:
        train: annotation file and folder of its images.
        val: the same for the validation set, if there is one.
        settings: those of the training; default the built-in ones.
        with_images: open the image files too.
        workers: images decoded at a time; 0 takes one for each processor.
        on_start: called once with the number of images before the first is opened.
        on_image: called with the number of images done so far.

    Raises:
        UserError: an annotation file or a folder does not exist.
    """
    settings = settings or Settings()
    splits = [_read(name, files, settings, with_images) for name, files in (("train", train), ("val", val)) if files is not None]
    if with_images:
        paths = [[split.images / entry.file for entry in split.inventory.images] for split in splits]
        flat = [path for part in paths for path in part]
        if on_start is not None:
            on_start(len(flat))
        facts = inspect_images(flat, workers=workers or os.cpu_count() or 1, on_image=on_image)
        for split, part in zip(splits, paths):
            names = [entry.file for entry in split.inventory.images]
            split.facts, facts = look_for_missing(facts[: len(part)], names, split.images), facts[len(part) :]
            check_image_files(split.inventory.images, split.facts, split.findings)
            check_duplicates(split.inventory.images, split.facts, split.findings)
    if len(splits) == 2:
        _compare(*splits)
        splits[0].other = splits[1]
    return Report(splits)


def check_again(split: Split, content: Any) -> tuple[Findings, dict[int, ImageFacts]]:
    """Checks other annotations for the same images, and opens the files that were not opened before.

    Args:
        split: checked.
        content: the annotations.

    Returns:
        The findings, and what the image files hold by their position in 'images'; nothing where `split` was checked without images.
    """
    findings = Findings(split.name, split.settings)
    inventory = check_annotations(content, findings, split.settings, training=split.name == "train")
    if not split.with_images:
        return findings, {}
    known = {entry.file: one for entry, one in zip(split.inventory.images, split.facts)}
    new = [entry for entry in inventory.images if entry.file not in known]
    opened = inspect_images([split.images / entry.file for entry in new], workers=os.cpu_count() or 1)
    known.update((entry.file, one) for entry, one in zip(new, look_for_missing(opened, [entry.file for entry in new], split.images)))
    facts = [known[entry.file] for entry in inventory.images]
    check_image_files(inventory.images, facts, findings)
    check_duplicates(inventory.images, facts, findings)
    if split.other is not None:
        _compare(Split(split.name, split.annotations, split.images, findings, content, inventory, facts), _copy_of(split.other))
    return findings, {entry.position: one for entry, one in zip(inventory.images, facts)}


def _copy_of(split: Split) -> Split:
    """The split with findings of its own, to compare it with another one again."""
    return dataclasses.replace(split, findings=Findings(split.name, split.settings))


def _read(name: str, files: tuple[str | Path, str | Path], settings: Settings, with_images: bool) -> Split:
    annotations, images = Path(files[0]), Path(files[1])
    findings = Findings(name, settings)
    content = read_annotations(annotations, findings)
    if with_images and not images.is_dir():
        raise UserError(f"{images}: is not a folder; name the folder of the images of {annotations}")
    if "not-json" in findings.codes():
        return Split(name, annotations, images, findings, content, Inventory(), [], settings, with_images)
    inventory = check_annotations(content, findings, settings, training=name == "train")
    return Split(name, annotations, images, findings, content, inventory, [], settings, with_images)


def _compare(train: Split, val: Split) -> None:
    """Adds what only shows when both files are compared: categories, classes without validation, leaks."""
    ours, theirs = train.inventory.categories, val.inventory.categories
    if ours and theirs and ours != theirs:
        for identity in sorted(ours.keys() | theirs.keys()):
            if ours.get(identity) != theirs.get(identity):
                names = [f"'{names[identity]}'" if identity in names else "missing" for names in (ours, theirs)]
                val.findings.add(
                    "categories-differ", "categories", detail=f"category id {identity} is {names[0]} in training, {names[1]} here"
                )
    elif ours:
        for identity, name in ours.items():
            if train.inventory.boxes[identity] and not val.inventory.boxes[identity]:
                val.findings.add("class-without-validation", "categories", detail=f"'{name}' (category id {identity})")
    if train.facts and val.facts:
        check_leaks(train.inventory.images, train.facts, val.inventory.images, val.facts, train.findings)
    else:
        of_path = {os.path.abspath(val.images / entry.file): entry for entry in val.inventory.images}
        for entry in train.inventory.images:
            other = of_path.get(os.path.abspath(train.images / entry.file))
            if other is not None:
                detail = f"like validation {other.file} (image id {other.id})"
                where = {"file": entry.file, "image_id": entry.id, "other": other.position}
                train.findings.add("leak", "images", entry.position, **where, detail=detail)
