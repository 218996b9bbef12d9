"""Plots of training runs. matplotlib is imported when the first is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file
from ttfnet_tf.outputs import written_by
from ttfnet_tf.runs.run_folder import read_metrics

Curve = Sequence[tuple[float, float]]  # (epoch, AP)
LEGEND_ROWS = 14  # more curves than this get no legend


def require_matplotlib() -> None:
    """Checks that plots can be drawn.

    Raises:
        UserError: matplotlib is not installed.
    """
    _figure(1, 1, 1, 1)


def learning_curves(out: str | Path, runs: Mapping[str, str | Path]) -> None:
    """Plots AP and training loss against the epoch.

    Args:
        out: image file.
        runs: label -> work directory.
    """
    figure, (precision, losses) = _figure(1, 2, 9, 3.2)
    for name, run in runs.items():
        lines = read_metrics(run)
        measured = [line for line in lines if "AP" in line]
        logged = [line for line in lines if "loss" in line]
        precision.plot([line["epoch"] for line in measured], [line["AP"] for line in measured], marker=".", label=name)
        losses.plot([line["epoch"] for line in logged], [line["loss"] for line in logged], linewidth=0.8, label=name)
    precision.set(xlabel="epoch", ylabel="AP", ylim=(0, None))
    losses.set(xlabel="epoch", ylabel="training loss", yscale="log")
    if runs:
        precision.legend(fontsize=8)
    _finish(figure, (precision, losses), out)


def cells(
    out: str | Path,
    title: str,
    curves: Mapping[str, Sequence[Curve]],
    finals: Mapping[str, Sequence[float]],
    published: Mapping[str, float],
) -> None:
    """Plots AP against the epoch for each cell of a table, and beside it the final and the published AP.

    Args:
        out: image file.
        title: above both plots.
        curves: cell -> one curve for each seed, in percent.
        finals: cell -> final AP of each seed, in percent.
        published: cell -> AP in percent; if empty, the second plot is omitted.
    """
    names = list(curves)
    height = max(3.4, 0.22 * len(names) + 1.2)
    figure, axes = _figure(1, 2 if published else 1, 10 if published else 8, height)
    by_epoch, at_end = axes if published else (axes, None)
    colours = _colours(len(names))
    for name, colour in zip(names, colours):
        for number, curve in enumerate(curves[name]):
            label = name if number == 0 else None
            by_epoch.plot([epoch for epoch, _ in curve], [ap for _, ap in curve], marker=".", linewidth=1, color=colour, label=label)
    by_epoch.set(xlabel="epoch", ylabel="AP (%)", ylim=(0, None))
    if 0 < len(names) <= LEGEND_ROWS:
        beside = {} if published else {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}  # where the second plot would be
        by_epoch.legend(fontsize=7, **beside)
    panels = [by_epoch]
    if at_end is not None:
        rows = range(len(names))
        for row, (name, colour) in enumerate(zip(names, colours)):
            at_end.plot(finals.get(name, ()), [row] * len(finals.get(name, ())), "o", color=colour, markersize=5)
        points = [(published[name], row) for row, name in zip(rows, names) if name in published]
        at_end.plot([x for x, _ in points], [y for _, y in points], "k|", markersize=12, label="published (COCO)")
        at_end.set(yticks=list(rows), xlabel="final AP (%)")
        at_end.set_yticklabels(names, fontsize=7)
        at_end.invert_yaxis()
        at_end.legend(fontsize=7)
        panels.append(at_end)
    figure.suptitle(title, fontsize=10)
    _finish(figure, panels, out)


def trade_offs(out: str | Path, points: Sequence[tuple[str, str, Mapping[str, float]]]) -> None:
    """Plots the paper's Figure 4: AP against hours of training, and against frames a second.

    Args:
        out: image file.
        points: (family, name, figures with AP and hours or fps); points of a family share a colour.
    """
    figure, axes = _figure(1, 2, 11, 4.6)
    families = list(dict.fromkeys(family for family, _, _ in points))
    colours = dict(zip(families, _colours(len(families))))
    for panel, key, label in zip(axes, ("hours", "fps"), ("hours of training", "frames a second")):
        for family in families:
            shown = [(name, figures) for other, name, figures in points if other == family and key in figures and "AP" in figures]
            x, y = [figures[key] for _, figures in shown], [figures["AP"] for _, figures in shown]
            panel.plot(x, y, "o", color=colours[family], label=family, markersize=5)
            for name, figures in shown:
                panel.annotate(name, (figures[key], figures["AP"]), xytext=(3, 3), textcoords="offset points", fontsize=6)
        panel.margins(x=0.16)  # room for the names
        panel.set(xlabel=label, ylabel="AP (%)")
    axes[0].legend(fontsize=7)
    _finish(figure, axes, out)


def _figure(rows, columns, width, height):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need matplotlib; install it with: pip install matplotlib") from None
    figure = Figure(figsize=(width, height), dpi=100)
    return figure, figure.subplots(rows, columns)


def _colours(count):
    from matplotlib import colormaps

    if count <= 10:
        return [colormaps["tab10"](index) for index in range(count)]
    return [colormaps["viridis"](index / (count - 1)) for index in range(count)]


def _finish(figure, panels, out):
    from matplotlib.text import Text

    axes = [axis for panel in panels for axis in (panel.xaxis, panel.yaxis) if axis.get_scale() == "log"]
    powers = {id(label) for axis in axes for label in axis.get_ticklabels(which="both")}  # the only formulas
    for panel in panels:
        panel.grid(alpha=0.3)
    for text in figure.findobj(Text):
        if id(text) not in powers:
            text.set_parse_math(False)  # a $ in a name is no formula
    figure.tight_layout()
    with new_file(Path(out)) as file:
        figure.savefig(file, format="png", metadata={"Software": f"{written_by('ttfnet reproduce')}\n"})
