"""detections.json: the file in which `ttfnet predict` and `ttfnet serve-client` write the detections of images.

A dictionary: "images", a list of {"file", "height", "width", "detections"} with the objects as `Detections.to_json` gives them;
"failed", a list of {"source", "reason"}; and what the command adds, such as "run" and "score_threshold".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.drawings import RECORD
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.json_text import read_json

JSON_NAME = RECORD


def image_entry(file: Path | str, detections: Detections, **more: Any) -> dict[str, Any]:
    """What the file says about one image."""
    height, width = detections.size
    return {"file": str(file), **more, "height": height, "width": width, "detections": detections.to_json()}


def write_detections(folder: Path, about: Mapping[str, Any], images: Sequence[Mapping], failures: Sequence[Failure]) -> Path:
    """Writes detections.json into a folder.

    Args:
        folder: made if missing.
        about: what the file says beside the images.
        images: from `image_entry`.
        failures: sources without detections.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
    """
    file = folder / JSON_NAME
    failed = [{"source": one.source, "reason": one.reason} for one in failures]
    write_json(file, {**about, "images": images, "failed": failed})
    return file


def make_folder(folder: str | Path, option: str = "--out") -> None:
    """Makes an output folder, which an option names, if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with {option}") from None


def read_own(folder: Path, command: str, read: Callable[[Any], Any]) -> Any:
    """Looks into the detections.json that a new one would overwrite.

    Args:
        folder: where it may be.
        command: the only one whose file may be overwritten, e.g. "predict".
        read: takes what it needs from the content; any error in it means that another program wrote the file.

    Returns:
        What `read` gives; None if there is no file.

    Raises:
        UserError: the file is not from `command`.
    """
    file = folder / JSON_NAME
    if not file.exists():
        return None
    try:
        return read(read_json(file))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: exists and was not written by {command}; name another folder with --out") from None
