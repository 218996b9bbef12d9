"""A contact sheet: captioned images in rows and a table below, as one image; drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 12  # px
PANEL_SIDE = 380  # px, the longer side of a panel
_TEXT, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)  # RGB
_LINE = 20  # px from one line of text to the next
_TITLE = 30  # px of the line of the title

Rows = Sequence[Sequence[tuple[str, np.ndarray]]]  # of (caption, uint8 [H, W, 3])


def fit(image: np.ndarray, side: int = PANEL_SIDE) -> np.ndarray:
    """uint8 [H, W, 3] resized so that its longer side has `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def contact_sheet(title: str, notes: Sequence[str], rows: Rows, table: Sequence[Sequence[str]] = ()) -> np.ndarray:
    """Title and notes, then rows of panels, then a table whose first row and first column are headings.

    Args:
        title: in bold.
        notes: lines below the title.
        rows: (caption, uint8 [H, W, 3]) of each panel.
        table: cells of text, all rows of one length.

    Returns:
        uint8 [height, width, 3], as large as its content.
    """
    font, bold = ImageFont.load_default(size=15), ImageFont.load_default(size=21)
    text_widths = [int(bold.getlength(title)), *(int(font.getlength(note)) for note in notes)]
    columns = [max(row[k][1].shape[1] for row in rows if k < len(row)) for k in range(max((len(row) for row in rows), default=0))]
    cells = [max(int(font.getlength(line[k])) for line in table) + 2 * MARGIN for k in range(len(table[0]) if table else 0)]
    width = max(sum(columns) + MARGIN * (len(columns) + 1), sum(cells) + 2 * MARGIN, max(text_widths) + 2 * MARGIN)
    heights = [max(panel.shape[0] for _, panel in row) + _LINE + MARGIN for row in rows]
    height = MARGIN + _TITLE + _LINE * len(notes) + MARGIN + sum(heights) + _LINE * len(table) + MARGIN
    page = Image.new("RGB", (width, height), _PAPER)
    canvas = ImageDraw.Draw(page)
    canvas.text((MARGIN, MARGIN), title, font=bold, fill=_TEXT)
    y = MARGIN + _TITLE
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
    _draw_table(canvas, table, cells, y, font)
    return np.asarray(page)


def _draw_table(canvas, table, widths, y, font):
    for number, line in enumerate(table):
        x = MARGIN
        for k, (text, width) in enumerate(zip(line, widths)):
            # Numbers are aligned on the right.
            start = x if k == 0 else x + width - MARGIN - int(font.getlength(text))
            canvas.text((start, y), text, font=font, fill=_TEXT if number and k else _FAINT)
            x += width
        y += _LINE


def _shortened(text, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
