"""Checks one annotation file against the rules of `data.coco` and against itself; no image is opened.

`data.coco` stops at the first fault. This check goes on with whatever is sound, so that one call reports everything. 100,000
annotations take about a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ttfnet_tf.doctor.boxes import check_boxes
from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.doctor.ids_and_names import check_categories, check_image_entries
from ttfnet_tf.doctor.inventory import Inventory
from ttfnet_tf.doctor.usage import check_classes, check_empty_images, check_image_use
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import NotJson, read_json


def read_annotations(path: str | Path, findings: Findings) -> Any:
    """The parsed file, or None after a finding.

    Raises:
        UserError: the file does not exist or cannot be read.
    """
    path = Path(path)
    try:
        return read_json(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a COCO instances JSON") from None
    except NotJson as error:
        findings.add("not-json", detail=str(error))
    return None


def check_annotations(content: Any, findings: Findings, settings: Settings, *, training: bool) -> Inventory:
    """Adds to `findings` everything that is wrong or worth knowing about a parsed file.

    Args:
        content: as `read_annotations` returns it; not changed.
        findings: of this file.
        settings: decide what is dropped, and the size that boxes are measured at.
        training: whether it is a training file; images of a validation file are never dropped.
    """
    inventory = Inventory()
    sections = _sections(content, findings)
    if sections is None:
        return inventory
    inventory.annotations = len(sections["annotations"])
    inventory.categories = check_categories(sections["categories"], findings)
    images = check_image_entries(sections["images"], findings)
    inventory.images = [entry for entry in images.values() if entry is not None]
    check_boxes(sections["annotations"], images, inventory, findings, settings)
    if training:
        check_image_use(inventory, findings, settings)
        check_classes(inventory, findings)
    else:
        check_empty_images(inventory, findings)
    return inventory


def _sections(content: Any, findings: Findings) -> dict[str, list] | None:
    """The three lists; None if one is missing, for then every annotation would be reported again."""
    if not isinstance(content, dict):
        findings.add("not-coco", detail=f"holds a {type(content).__name__}, not an object")
        return None
    sections = {}
    for name in ("images", "annotations", "categories"):
        section = content.get(name)
        if not isinstance(section, list):
            findings.add("section-missing", detail=f"no list '{name}'")
        elif not section and name != "annotations":
            findings.add("section-empty", detail=f"'{name}' is empty")
        sections[name] = section
    return None if findings.codes() & {"section-missing", "section-empty"} else sections
