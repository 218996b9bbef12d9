"""From the outputs of a server to named boxes in pixels of each image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.json_text import read_json
from ttfnet_tf.runs.run_folder import labels_of
from ttfnet_tf.serving.errors import one_line
from ttfnet_tf.serving.signature import OUTPUTS
from ttfnet_tf.serving.target import Target

_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that swap height and width


def check_outputs(target: Target, outputs: dict[str, np.ndarray], images: int) -> dict[str, np.ndarray]:
    """The outputs, if they are those of a detector for so many images.

    Raises:
        UserError: they are not.
    """
    rows = {name: outputs[name].shape[:1] for name in OUTPUTS if name in outputs}
    if set(rows) != set(OUTPUTS) or set(rows.values()) != {(images,)}:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(outputs.items())) or "nothing"
        raise UserError(f"{target}: answers {images} images with {one_line(shapes)}; the model was not written by ttfnet export")
    return outputs


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
            with Image.open(file) as image:
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
