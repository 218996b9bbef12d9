"""Finds the published result that a run can be compared with, if there is one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ttfnet_tf.config import load_config
from ttfnet_tf.report.run_record import Record
from ttfnet_tf.reproduce.cells import PUBLISHED, Cell, read_published
from ttfnet_tf.runs.run_folder import flatten

COCO_CLASSES, COCO_IMAGES = 80, 5000  # of val2017, on which all results were published
_SECTIONS = ("augment.", "losses.", "model.", "optim.", "targets.")
_KEYS = {
    *("data.image_size", "data.resize", "data.tile", "data.crowd", "data.empty_images", "data.class_balance"),
    *("train.batch_size", "train.epochs", "train.teacher", "decode.top_k", "decode.score_threshold"),
}
_SAME_NUMBERS = {"model.pretrained", "model.sampler", "model.batch_norm", "targets.backend"}  # or paths of files


@dataclass(frozen=True)
class Reference:
    """A published result for the run's configuration."""

    cell: Cell
    source: str  # of the table
    differences: tuple[str, ...]  # settings of the run that differ from it, as key=value
    is_same_data: bool  # whether it is COCO val2017, by the number of classes and images

    @property
    def is_comparable(self) -> bool:
        return self.is_same_data and not self.differences


def find_reference(record: Record, num_images: int | None) -> Reference | None:
    """The published result for the run's configuration file; if there are several, the one with the most similar settings.

    Args:
        record: the run.
        num_images: number of images that it was evaluated on.

    Returns:
        None if no result was published for that file, or the published results are missing (outside a clone).
    """
    if record.config_name is None or not PUBLISHED.is_file():
        return None
    found = []
    for table in read_published().tables.values():
        for cell in table.cells:
            if cell.config.stem == record.config_name and "AP" in cell.published:
                found.append((_differences(record.settings, cell), cell, table.source))
    if not found:
        return None
    differences, cell, source = min(found, key=lambda entry: len(entry[0]))
    is_same_data = len(record.class_names) == COCO_CLASSES and num_images == COCO_IMAGES
    return Reference(cell, source, differences, is_same_data)


def _differences(settings: Any, cell: Cell) -> tuple[str, ...]:
    expected = flatten(dataclasses.asdict(load_config(cell.config, cell.settings)))
    return tuple(f"{key}={settings[key]}" for key in expected if _matters(key) and settings[key] != expected[key])


def _matters(key: str) -> bool:
    return (key in _KEYS or key.startswith(_SECTIONS)) and key not in _SAME_NUMBERS
