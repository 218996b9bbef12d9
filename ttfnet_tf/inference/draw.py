"""Draws boxes with labels on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def class_colour(class_index: int) -> tuple[int, int, int]:
    """RGB colour of a class; the golden angle keeps the hues of neighbouring indices apart."""
    hue = (class_index * 0.618033988749895) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
) -> np.ndarray:
    """Draws boxes and their labels on a copy of an image.

    Args:
        image: [H, W, 3] uint8 RGB.
        boxes: [N, 4] xyxy in pixels of the image; clipped to it. The first box is drawn last, so that of
            detections sorted by score the best are on top.
        labels: N texts, e.g. "cat 0.93"; an empty text draws no label.
        colours: N RGB triples, e.g. from `class_colour`.

    Returns:
        [H, W, 3] uint8 RGB; line width and text grow with the image.

    Raises:
        ValueError: the image is not uint8 RGB, or the lengths differ.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], received {image.dtype} {list(image.shape)}")
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    if not len(boxes) == len(labels) == len(colours):
        raise ValueError(f"expected as many labels and colours as boxes, received {len(boxes)}, {len(labels)} and {len(colours)}")
    drawing = Image.fromarray(image)
    canvas = ImageDraw.Draw(drawing)
    short_side = min(image.shape[:2])
    line = max(1, round(short_side / 250))
    font = ImageFont.load_default(size=max(9, min(28, short_side // 30)))
    limit = np.array([image.shape[1] - 1, image.shape[0] - 1] * 2, np.float32)
    for box, label, colour in reversed(list(zip(boxes, labels, colours))):
        x1, y1, x2, y2 = (round(float(v)) for v in np.clip(box, 0, limit))
        # A box narrower than its own line would be refused by Pillow.
        canvas.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=line)
        if label:
            _draw_label(canvas, (x1, y1), label, colour, font, limit)
    return np.asarray(drawing)


def draw_line(image: np.ndarray, line: Sequence[float], text: str) -> np.ndarray:
    """Draws a line with a text at its first point on a copy of an image.

    Args:
        image: [H, W, 3] uint8 RGB.
        line: x1, y1, x2, y2 in pixels of the image.
        text: one line.
    """
    drawing = Image.fromarray(image)
    canvas = ImageDraw.Draw(drawing)
    width = max(2, round(min(image.shape[:2]) / 150))
    canvas.line(tuple(float(value) for value in line), fill=(255, 255, 255), width=width)
    font = ImageFont.load_default(size=max(9, min(28, min(image.shape[:2]) // 30)))
    limit = np.array([image.shape[1] - 1, image.shape[0] - 1], np.float32)
    corner = [round(min(max(value, 0), end)) for value, end in zip(line[:2], limit.tolist())]
    _draw_label(canvas, corner, text, (255, 255, 255), font, limit)
    return np.asarray(drawing)


def draw_caption(image: np.ndarray, text: str) -> np.ndarray:
    """Draws a line of text in the upper left corner of a copy of an image, white on black.

    Args:
        image: [H, W, 3] uint8 RGB.
        text: one line; clipped at the right edge.
    """
    drawing = Image.fromarray(image)
    canvas = ImageDraw.Draw(drawing)
    font = ImageFont.load_default(size=max(9, min(28, min(image.shape[:2]) // 30)))
    limit = np.array([image.shape[1] - 1, image.shape[0] - 1], np.float32)
    _draw_label(canvas, (0, 0), text, (0, 0, 0), font, limit)
    return np.asarray(drawing)


def _draw_label(canvas, corner, label, colour, font, limit) -> None:
    """Draws text on a filled strip: above the box if there is room, else inside it, and never beyond the right edge."""
    left, top, right, bottom = canvas.textbbox((0, 0), label, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0, min(corner[0], int(limit[0]) - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    canvas.text((x + 2 - left, y + 2 - top), label, font=font, fill=(0, 0, 0) if luminance > 140 else (255, 255, 255))
