"""From the outputs of a server to named boxes in pixels of each image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ttfnet_tf.data.images import FORMATS
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.json_text import read_json
from ttfnet_tf.runs.run_folder import labels_of
from ttfnet_tf.serving.errors import one_line
from ttfnet_tf.serving.signature import OUTPUTS
from ttfnet_tf.serving.target import Target

_LARGEST = 2**31  # of class numbers; of boxes, as fractions of the image, 1 is usual
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that swap height and width


def check_outputs(target: Target, outputs: Mapping[str, np.ndarray], images: int) -> dict[str, np.ndarray]:
    """The outputs as float32, if they are those of a detector for so many images.

    Raises:
        UserError: one is missing or has another shape, something that is no finite number, or a score, class or count that cannot be one.
    """
    detections = np.shape(outputs.get("detection_scores"))[1:2]
    expected = {
        "detection_boxes": (images, *detections, 4),
        "detection_scores": (images, *detections),
        "detection_classes": (images, *detections),
        "num_detections": (images,),
    }
    if not detections or any(name not in outputs or outputs[name].shape != expected[name] for name in OUTPUTS):
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(outputs.items())) or "nothing"
        raise UserError(f"{target}: answers {images} images with {one_line(shapes)}; the model was not written by ttfnet export")
    checked = {name: _numbers(outputs[name]) for name in OUTPUTS}
    wrong = next((name for name in OUTPUTS if checked[name] is None or not _is_possible(name, checked[name], *detections)), None)
    if wrong is not None:
        raise UserError(
            f"{target}: answers with {wrong} that cannot be (NaN, text or out of range); the model was not written by ttfnet export"
        )
    return checked


def _numbers(values: np.ndarray) -> np.ndarray | None:
    """float32, or None where the values are texts, flags or nothing, are not finite, or are too large to be one."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or (np.abs(values.astype(np.float64)) > _LARGEST).any():
        return None
    return values.astype(np.float32)


def _is_possible(name: str, values: np.ndarray, detections: int) -> bool:
    if name == "detection_scores":
        return bool(((values >= 0) & (values <= 1)).all())
    if name == "num_detections":
        return bool(((values >= 0) & (values <= detections) & (values % 1 == 0)).all())
    return name == "detection_boxes" or bool((values % 1 == 0).all())


def detections_of(
    outputs: Mapping[str, np.ndarray], row: int, *, size: tuple[int, int], class_names: Mapping[int, str], score_threshold: float
) -> Detections:
    """The detections of one image.

    Args:
        outputs: see `signature.Reply`.
        row: of the image.
        size: (height, width) of the image in pixels.
        class_names: category id -> name; a class without a name gets its id.
        score_threshold: only scores above it are kept.
    """
    scores = np.asarray(outputs["detection_scores"][row], np.float32)
    keep = np.flatnonzero((np.arange(len(scores)) < int(outputs["num_detections"][row])) & (scores > score_threshold))
    height, width = size
    boxes = np.asarray(outputs["detection_boxes"][row], np.float32)[keep][:, [1, 0, 3, 2]]
    ids = np.asarray(outputs["detection_classes"][row])[keep].astype(np.int32)
    return Detections(
        boxes=boxes * np.array([width, height, width, height], np.float32),
        scores=scores[keep],
        class_ids=ids,
        class_names=tuple(class_names.get(int(number), str(number)) for number in ids),
        size=(int(height), int(width)),
    )


def image_size(file: Path) -> tuple[int, int]:
    """(height, width) in pixels after EXIF rotation, read from the header without decoding.

    Raises:
        UserError: the file is missing or is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                exif = Image.Exif()
                exif.load(image.info.get("exif", b""))  # Pillow would also read XMP, which neither OpenCV nor the server reads
        return (width, height) if exif.get(_ORIENTATION) in _TURNED else (height, width)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file}: its image size cannot be read ({reason})") from None


def read_class_names(file: Path) -> dict[int, str]:
    """Category id -> name, from the labels.json of a run or of the assets of an exported model.

    Raises:
        UserError: the file is missing or is no labels.json.
    """
    try:
        labels = labels_of(read_json(file))
        return dict(zip(labels.category_ids, labels.class_names))
    except (OSError, ValueError):
        raise UserError(
            f"{file}: is missing or is no labels.json; name that of a work directory or of an exported model's assets/"
        ) from None
