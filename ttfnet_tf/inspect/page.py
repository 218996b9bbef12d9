"""A page of captioned images and a table, composed with Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 12
PANEL_SIDE = 380  # pixels of the longer side of a panel
_TEXT, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_LINE = 20  # pixels from one line of text to the next


def fit(image: np.ndarray, side: int = PANEL_SIDE) -> np.ndarray:
    """uint8 [H, W, 3] resized so that its longer side has `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def compose(
    title: str,
    notes: Sequence[str],
    rows: Sequence[Sequence[tuple[str, np.ndarray]]],
    table: Sequence[Sequence[str]] = (),
) -> np.ndarray:
    """Title and notes, then rows of (caption, uint8 [H, W, 3]), then a table whose first row and first column are headings.

    Returns:
        uint8 [height, width, 3], as large as its content.
    """
    font, bold = ImageFont.load_default(size=15), ImageFont.load_default(size=21)
    widths = [max(int(font.getlength(row[column])) for row in table) + 2 * MARGIN for column in range(len(table[0]) if table else 0)]
    columns = [
        max((row[k][1].shape[1] for row in rows if k < len(row)), default=0) for k in range(max((len(row) for row in rows), default=0))
    ]
    width = max(sum(columns) + MARGIN * (len(columns) + 1), sum(widths) + 2 * MARGIN, int(bold.getlength(title)) + 2 * MARGIN)
    width = max([width, *(int(font.getlength(note)) + 2 * MARGIN for note in notes)])
    heights = [max(panel.shape[0] for _, panel in row) + _LINE + MARGIN for row in rows]
    height = MARGIN + 30 + _LINE * len(notes) + MARGIN + sum(heights) + _LINE * len(table) + MARGIN
    page = Image.new("RGB", (width, height), _PAPER)
    canvas = ImageDraw.Draw(page)
    canvas.text((MARGIN, MARGIN), title, font=bold, fill=_TEXT)
    y = MARGIN + 30
    for note in notes:
        canvas.text((MARGIN, y), note, font=font, fill=_FAINT)
        y += _LINE
    y += MARGIN
    for row, row_height in zip(rows, heights):
        x = MARGIN
        for (caption, panel), column in zip(row, columns):
            canvas.text((x, y), _shortened(caption, font, column), font=font, fill=_TEXT)
            page.paste(Image.fromarray(panel), (x, y + _LINE))
            x += column + MARGIN
        y += row_height
    for number, cells in enumerate(table):
        x = MARGIN
        for k, (text, column) in enumerate(zip(cells, widths)):
            # Figures stand under each other by their last digit.
            start = x if k == 0 else x + column - MARGIN - int(font.getlength(text))
            canvas.text((start, y), text, font=font, fill=_TEXT if number and k else _FAINT)
            x += column
        y += _LINE
    return np.asarray(page)


def _shortened(text, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
