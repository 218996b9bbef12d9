"""Charts of the report as inline SVG. Text has the colour of the page's text, so that it can be read on light and dark backgrounds.

Matplotlib draws them: chart libraries with JavaScript would add megabytes to a page that must load nothing from elsewhere.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from ttfnet_tf.report.class_metrics import PrecisionCurve

COLOURS = ("#2f7ed8", "#e07b00", "#3a9d5d", "#c44e9c", "#8a6fd1", "#d64541", "#4aa3b5", "#a08030")  # of medium lightness
POINTS = 400  # of a line; longer lines are averaged down
_LEGEND = {"AP50": "IoU .5", "AP75": "IoU .75"}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"  # names of formats: nothing is loaded
_INK = "#010203"  # placeholder for the page's colour of text


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    name: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    from_zero: bool = False,
    markers: bool = False,
) -> Markup:
    """Draws curves over a horizontal axis that starts at 0.

    Args:
        name: prefix of the ids, unique on the page; letters, digits and hyphens.
        lines: with a legend if there are several.
        x_label, y_label: of the axes.
        log_y: whether the vertical axis is logarithmic; values of 0 and below are dropped.
        from_zero: whether the vertical axis starts at 0.
        markers: whether every point has a dot.
    """
    figure, axes = _figure(4.4, 2.7, left=0.62)
    for number, line in enumerate(lines):
        x, y = downsample(line.x, line.y)
        if log_y:
            x, y = x[y > 0], y[y > 0]
        marker = "o" if markers else None
        axes.plot(x, y, color=COLOURS[number % len(COLOURS)], linewidth=1.4, label=line.label, marker=marker, markersize=3)
    if log_y and any(len(line.y) and max(line.y) > 0 for line in lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # labels also within one decade
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, max([1e-9, *(1.02 * max(line.x) for line in lines if len(line.x))]))
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.set(xlabel=x_label, ylabel=y_label)
    if len(lines) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=_INK)
    return _svg(figure, name)


def precision_chart(name: str, curve: PrecisionCurve) -> Markup:
    """Draws precision against recall of one class at IoU .5 and .75."""
    figure, axes = _figure(2.6, 2.2, left=0.35, bottom=0.28, top=0.3)
    for number, (key, precisions) in enumerate(curve.at.items()):
        axes.plot(
            curve.recalls,
            [precision or np.nan for precision in precisions],  # 0 where no detection reaches the recall
            color=COLOURS[number],
            linewidth=1.4,
            linestyle=("-", "--")[number],
            label=_LEGEND[key],
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_title(f"{curve.name}: AP {100 * curve.ap:.1f}", fontsize=9, color=_INK)
    axes.legend(fontsize=7, frameon=False, labelcolor=_INK, loc="lower left")
    return _svg(figure, name)


def bar_chart(name: str, bars: Mapping[str, Sequence[float]], groups: Sequence[str], *, x_label: str) -> Markup:
    """Draws horizontal bars: a row for each key of `bars`, with a bar for each of `groups` and a legend if there are several."""
    rows, thickness = np.arange(len(bars)), 0.8 / max(1, len(groups))
    figure, axes = _figure(4.4, 0.7 + 0.32 * len(bars) * max(1.0, 0.6 * len(groups)), left=1.05)
    for number, group in enumerate(groups):
        values = [bars[key][number] for key in bars]
        places = rows + (number - (len(groups) - 1) / 2) * thickness
        axes.barh(places, values, height=0.9 * thickness, color=COLOURS[number % len(COLOURS)], label=group)
        for place, value in zip(places, values):
            axes.annotate(f"{value:.1f}", (value, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8, color=_INK)
    axes.set_yticks(rows, list(bars))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max([1e-3, *(value for values in bars.values() for value in values)]))
    axes.set_xlabel(x_label)
    if len(groups) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=_INK)
    return _svg(figure, name)


def heat_map(name: str, fractions: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Markup:
    """Draws a matrix of fractions 0..1 as an image, for more classes than fit into a table."""
    figure, axes = _figure(8.0, 8.0, left=1.1, bottom=1.1)
    axes.grid(visible=False)
    axes.imshow(np.sqrt(fractions), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")  # the root makes a few percent visible
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=5)
    axes.set_yticks(range(len(rows)), rows, fontsize=5)
    axes.set(xlabel="detected as", ylabel="object")
    return _svg(figure, name)


def downsample(x: Sequence[float], y: Sequence[float], limit: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` points, each the mean of equally many neighbours."""
    both = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) <= limit:
        return both
    parts = np.array_split(np.arange(len(x)), limit)
    xs, ys = (np.array([values[part].mean() for part in parts]) for values in both)
    return xs, ys


def _figure(width: float, height: float, *, left: float, bottom: float = 0.45, top: float = 0.1) -> tuple[Figure, Axes]:
    """A figure with sizes and margins in inches; margins are fixed, because an automatic layout would draw every chart twice."""
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    figure.subplots_adjust(left=left / width, right=1 - 0.12 / width, bottom=bottom / height, top=1 - top / height)
    axes.tick_params(which="both", colors=_INK, labelsize=8)
    axes.xaxis.label.set(color=_INK, fontsize=9)
    axes.yaxis.label.set(color=_INK, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
        spine.set_alpha(0.4)
    return figure, axes


def _svg(figure: Figure, name: str) -> Markup:
    """The SVG element without prologue and size, its ids prefixed with `name`, because a page has several."""
    buffer = io.StringIO()
    for label in figure.findobj(Text):
        label.set_parse_math(False)  # a $ in the name of a class is no formula
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "text.parse_math": False}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has another font
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'font-family: [^;"]*', "font-family: inherit", text)
    box = re.findall(r'viewBox="[^"]*"', text)[0]
    text = f'<svg xmlns="{_SVG}" xmlns:xlink="{_XLINK}" {box} role="img">{text.partition(">")[2]}'
    return Markup(text.strip())
