"""Draws the table of layers in tests/meta/test_layers.py as docs/images/layers.svg, the figure of CONTRIBUTING.md.

python docs/draw_layers.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "images" / "layers.svg"
_WIDTH, _ROW, _BOX, _GAP = 560, 66, 34, 8  # px; a row, a box in it, and the space between two boxes
_LETTER = 7.8  # px that a letter takes
_STYLE = "font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px"


def layers() -> list[tuple[str, list[str]]]:
    """The rows of the table, the ground first: (what the row is, its packages)."""
    source = (ROOT / "tests" / "meta" / "test_layers.py").read_text(encoding="utf-8")
    table = re.search(r"^LAYERS = \(\n(.*?)^\)", source, flags=re.DOTALL | re.MULTILINE)[1]
    rows = re.findall(r"^    \((.*)\),(?:  # (.*))?$", table, flags=re.MULTILINE)
    return [(remark, re.findall(r'"(\w+)"', packages)) for packages, remark in rows]


def draw(rows: list[tuple[str, list[str]]]) -> str:
    """The figure as SVG: the last row on top, as a house is seen."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_ROW * len(rows) + 30}" role="img" style="{_STYLE}">',
        "<title>Layers of ttfnet_tf</title>",
        f'<rect width="{_WIDTH}" height="{_ROW * len(rows) + 30}" fill="#ffffff"/>',
    ]
    for number, (remark, packages) in enumerate(reversed(rows)):
        top = _ROW * number + 8
        shade = ("#eef1f8", "#e1e7f5")[number % 2]
        parts.append(f'<rect x="8" y="{top}" width="{_WIDTH - 16}" height="{_ROW - 8}" rx="6" fill="{shade}"/>')
        parts.append(f'<text x="18" y="{top + 15}" fill="#59627a" font-size="12">{remark}</text>')
        left = 18.0
        for package in packages:
            width = _LETTER * len(package) + 18
            parts.append(f'<rect x="{left:.0f}" y="{top + 20}" width="{width:.0f}" height="{_BOX - 2}" rx="4" fill="#3f51b5"/>')
            parts.append(f'<text x="{left + width / 2:.0f}" y="{top + 41}" fill="#ffffff" text-anchor="middle">{package}</text>')
            left += width + _GAP
    parts.append(
        f'<text x="18" y="{_ROW * len(rows) + 22}" fill="#59627a" font-size="12">Imports point down, and to the left within a row.</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    FIGURE.write_text(draw(layers()), encoding="utf-8")
