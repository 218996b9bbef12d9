"""Writes the table and the curves of docs/benchmarks/minutes_to_ap.md from the rows of the ledger.

    python tools/ledger/page.py [ROWS.csv ...]

Rows of the files are merged into docs/benchmarks/minutes_to_ap.csv; of two runs of the same thing the later one stays. Without a file the
page is written again. What stands between the two markers of the page is replaced, the rest is kept.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from rows import Row, append_row, latest, read_rows  # noqa: E402

Place = tuple[str, str]  # data set and processor

BEGIN, END = "<!-- rows: written by tools/ledger/page.py -->", "<!-- end of rows -->"
NOTHING = "**Nothing has been run yet**: no row is measured, and no system is compared with another."


def body(rows: list[Row], curves: dict[Place, str]) -> str:
    """What the page shows of the rows, as Markdown: a table for each data set and processor.

    Args:
        rows: of the ledger.
        curves: data set and processor -> image, relative to the page.
    """
    if not rows:
        return NOTHING
    parts = []
    for (data, processor), here in by_place(rows).items():
        parts.append(f"### {data}, {processor.replace('(R)', '')}")
        parts.append("\n".join(_table(here, sorted({row.minutes for row in here}))))
        if (data, processor) in curves:
            parts.append(f"![AP by minute on {data}]({curves[data, processor]})")
    parts.append("Every row with its command:\n\n[minutes_to_ap.csv](minutes_to_ap.csv)")
    return "\n\n".join(parts)


def by_place(rows: list[Row]) -> dict[Place, list[Row]]:
    """Data set and processor -> its rows. Rows of two processors are never compared."""
    found = defaultdict(list)
    for row in rows:
        found[row.data, row.processor].append(row)
    return dict(found)


def image_name(place: Place) -> str:
    """File of the curves."""
    words = re.findall(r"[a-z0-9-]+", " ".join(place).lower().replace("(r)", ""))
    return f"minutes_to_ap_{'_'.join(words)}.png"


def with_body(text: str, content: str) -> str:
    """The page with other content between its markers."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the page needs one line {BEGIN} and after it one line {END}")
    return text[: text.index(BEGIN)] + f"{BEGIN}\n\n{content}\n\n" + text[text.index(END) :]


def curves_of(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """Label of a system -> (minutes, mean AP of its seeds), in ascending order of minutes."""
    found = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[_label(row)][row.minutes].append(row.AP)
    return {label: [(minutes, sum(aps) / len(aps)) for minutes, aps in sorted(points.items())] for label, points in found.items()}


def draw(rows: list[Row], out: Path) -> None:
    """Plots AP against minutes of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), dpi=100)
    panel = figure.subplots()
    for label, points in curves_of(rows).items():
        panel.plot([x for x, _ in points], [y for _, y in points], marker=".", linewidth=1, label=label)
    panel.set(xlabel="minutes of training", ylabel="AP", xlim=(0, None), ylim=(0, None))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    figure.savefig(out, format="png", metadata={"Software": "tools/ledger/page.py"})


def _label(row: Row) -> str:
    start = "" if row.start == "none" else f", {row.start}"
    size = f" {row.size} px" if row.size else ""
    return f"{row.system}{size}{start}"


def _table(rows: list[Row], minutes: list[float]) -> list[str]:
    """AP (AP50) by minutes, the highest last AP first; several seeds as their mean, with their number."""
    heads = [f"{one:g} min" for one in minutes]
    lines = [
        "| System | Start | Input | Parameters | Images/s | " + " | ".join(heads) + " |",
        "|---|---|---|---|---|" + "---|" * len(minutes),
    ]
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.system, row.version, row.start, row.size].append(row)
    order = sorted(groups.values(), key=lambda group: (-max(row.minutes for row in group), -max(row.AP for row in group)))
    for group in order:
        first = group[0]
        inputs = list(dict.fromkeys(row.input for row in sorted(group, key=lambda row: row.minutes)))
        speeds = [_speed([row for row in group if row.input == one]) for one in inputs]
        cells = [_cell([row for row in group if row.minutes == one]) for one in minutes]
        name = f"{first.system} ({first.version})"
        facts = [name, first.start, ", ".join(inputs), f"{first.parameters / 1e6:.1f} M", ", ".join(filter(None, speeds))]
        lines.append("| " + " | ".join([*facts, *cells]) + " |")
    return lines


def _speed(rows: list[Row]) -> str:
    """Their mean number of images a second; "" where the system does not say."""
    speeds = [row.images_per_second for row in rows if row.images_per_second is not None]
    return f"{sum(speeds) / len(speeds):.1f}" if speeds else ""


def _cell(rows: list[Row]) -> str:
    if not rows:
        return "not run"
    seeds = "" if len(rows) == 1 else f", {len(rows)} seeds"
    means = [f"{sum(values) / len(values):.3f}".removeprefix("0") for values in ([row.AP for row in rows], [row.AP50 for row in rows])]
    return f"{means[0]} ({means[1]}{seeds})"


def main(files: list[str]) -> None:
    """Merges, draws and writes."""
    folder = ROOT / "docs" / "benchmarks"
    table, page = folder / "minutes_to_ap.csv", folder / "minutes_to_ap.md"
    rows = latest([row for file in (table, *map(Path, files)) for row in read_rows(file)])
    curves = {}
    for place, here in by_place(rows).items():
        draw(here, folder.parent / "images" / image_name(place))
        curves[place] = f"../images/{image_name(place)}"
    table.unlink(missing_ok=True)
    for row in rows:
        append_row(table, row)
    page.write_text(with_body(page.read_text(encoding="utf-8"), body(rows, curves)), encoding="utf-8")
    print(f"{len(rows)} rows: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
