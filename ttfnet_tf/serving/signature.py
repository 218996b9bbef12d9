"""The served signature: names of its input and outputs, as `export.saved_model.serving_functions` writes them and clients use them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIGNATURE = INPUT = "image_bytes"  # string [N], each the bytes of a JPEG or PNG file
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")  # see `export.model_card.OUTPUTS`


class Reply(NamedTuple):
    """A server's answer to one request."""

    outputs: dict[str, np.ndarray]  # the four of `OUTPUTS`, a row for each image
    version: int | None  # of the model that answered; None with REST, which does not say
