"""The detections of an image: boxes, scores and classes as arrays, one by one, as COCO results and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.boxes import xyxy_to_xywh


@dataclass(frozen=True)
class Detection:
    """One detected object."""

    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the image
    score: float  # 0..1
    class_id: int  # category id of the training annotations
    class_name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, the highest score first; a sequence of `Detection`."""

    boxes: np.ndarray  # float32 [N, 4] xyxy in pixels of the image, inclusive corners
    scores: np.ndarray  # float32 [N], descending
    class_ids: np.ndarray  # int32 [N], category ids of the training annotations
    class_names: tuple[str, ...]  # [N]
    size: tuple[int, int]  # (height, width) of the image

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> Detection:
        x1, y1, x2, y2 = (float(value) for value in self.boxes[index])
        return Detection((x1, y1, x2, y2), float(self.scores[index]), int(self.class_ids[index]), self.class_names[index])

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def above(self, score: float) -> Detections:
        """The detections with a score above `score`."""
        keep = np.flatnonzero(self.scores > score)
        names = tuple(self.class_names[index] for index in keep)
        return Detections(self.boxes[keep], self.scores[keep], self.class_ids[keep], names, self.size)

    def to_coco(self, image_id: int) -> list[dict]:
        """As COCO results: image_id, category_id, bbox [x, y, width, height], score."""
        return [
            {"image_id": image_id, "category_id": int(class_id), "bbox": [float(v) for v in box], "score": float(score)}
            for box, score, class_id in zip(xyxy_to_xywh(self.boxes), self.scores, self.class_ids)
        ]

    def to_json(self) -> list[dict]:
        """As lists and numbers for `json_text`: box [x1, y1, x2, y2], score, class_id, class_name."""
        return [{"box": list(one.box), "score": one.score, "class_id": one.class_id, "class_name": one.class_name} for one in self]
