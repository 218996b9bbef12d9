"""Label files of YOLO: one line `class cx cy w h` for each box, in fractions of the image.

The fractions are continuous: cx = (x + w / 2) / width of the image with COCO's x and w.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import Box, ImageRecord, Problems, tidy
from ttfnet_tf.formats.source_files import image_size, is_file, read_text

_TOLERANCE = 0.01  # fractions this far outside 0..1 are rounding, as other readers of YOLO take them


class LabelReader:
    """Reads images with their label files.

    Args:
        names: class names by number.
        has_keypoints: lines hold a box and keypoints, not polygons.
        problems: gets a line for every mistake.
        notes: counts what was decided.
    """

    def __init__(self, names: Mapping[int, str], has_keypoints: bool, problems: Problems, notes: Counter[str]):
        self._names, self._has_keypoints, self._problems, self._notes = names, has_keypoints, problems, notes

    def read(self, image: Path, labels: Path) -> ImageRecord | None:
        """The image with its boxes; None if it is not readable or its label file has a mistake."""
        before = len(self._problems)
        try:
            size = image_size(image)
            text = read_text(labels) if is_file(labels) else None
        except UserError as error:
            self._problems.lines.append(str(error))
            return None
        if text is None:
            self._notes["images without a label file have no objects"] += 1
        boxes = []
        for line, content in enumerate((text or "").splitlines(), start=1):
            fields = content.split()
            if fields:
                box = self._read_line(fields, size, labels, line)
                if box is not None:
                    boxes.append(box)
        return None if len(self._problems) > before else ImageRecord(image, size, boxes)

    def _read_line(self, fields: Sequence[str], size: tuple[int, int], path: Path, line: int) -> Box | None:
        def problem(text):
            self._problems.add(path, line, text)

        numbers = []
        for field in fields:
            try:
                numbers.append(float(field))
            except ValueError:
                return problem(f"'{field}' is not a number; expected class cx cy w h")
        number, fractions = numbers[0], numbers[1:]
        is_polygon = len(fractions) >= 6 and len(fractions) % 2 == 0 and not self._has_keypoints
        if len(fractions) != 4 and not is_polygon and not (self._has_keypoints and len(fractions) > 4):
            return problem(f"has {len(numbers)} numbers; expected 5 (class cx cy w h), or a class and a polygon of 3 points or more")
        if self._has_keypoints and len(fractions) > 4:
            self._notes["lines with keypoints: only their boxes are kept"] += 1
            fractions = fractions[:4]
        if number not in self._names:
            return problem(f"class {number:g} is not in names, which has {min(self._names)} to {max(self._names)}")
        wrong = next((one for one in fractions if not -_TOLERANCE <= one <= 1 + _TOLERANCE), None)  # NaN too
        if wrong is not None:
            return problem(f"{wrong:g} lies outside 0..1: expected fractions of the image, not pixels")
        if is_polygon:
            self._notes["polygons: only their bounding boxes are kept"] += 1
            left, top, right, bottom = min(fractions[::2]), min(fractions[1::2]), max(fractions[::2]), max(fractions[1::2])
            fractions = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        cx, cy, w, h = fractions
        if min(w, h) < 0:
            return problem(f"width {w:g} and height {h:g} must not be negative")
        height, width = size
        bbox = (tidy((cx - w / 2) * width), tidy((cy - h / 2) * height), tidy(w * width), tidy(h * height))
        return Box(int(number), bbox)


def label_line(number: int, bbox: Sequence[float], size: tuple[int, int]) -> tuple[str | None, bool]:
    """One line of a label file.

    Args:
        number: class, from 0.
        bbox: COCO x, y, width, height in pixels.
        size: (height, width) of the image.

    Returns:
        The line without its end, None for a box without area inside the image; and whether it was clipped, as boxes must be whose centre
        lies outside the image or whose side is longer than it.
    """
    height, width = size
    x, y, w, h = bbox
    if w <= 0 or h <= 0:
        return None, False
    fractions = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    is_clipped = not all(0 <= one <= 1 for one in fractions)
    if is_clipped:
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
        if right <= left or bottom <= top:
            return None, False
        fractions = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return f"{number} " + " ".join(f"{one:.8f}" for one in fractions), is_clipped
