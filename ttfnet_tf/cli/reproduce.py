"""`ttfnet reproduce`: the paper's tables and figures as runs. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ttfnet_tf.cli import parser
from ttfnet_tf.errors import UserError
from ttfnet_tf.reproduce import plots, results
from ttfnet_tf.reproduce.cells import Cell, Published, Table, read_published, select
from ttfnet_tf.reproduce.plan import Run, check_data, data_folder, plan
from ttfnet_tf.reproduce.run import is_done, run_all

_FIGURE4 = "figure4"
_INTERRUPTED = 130


def add_verb(verbs) -> None:
    """Adds `reproduce` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "reproduce",
        run,
        "the paper's tables as runs, measured beside published",
        "key=value",
        description=run.__doc__,
        epilog="Settings follow as key=value and count for every cell, e.g. train.batch_size=16; docs/ablations.md explains everything.",
        examples=("ttfnet reproduce table2 --list", "ttfnet reproduce table2 --data COCO --scale 0.25"),
    )
    verb.add_argument("table", metavar="TABLE", help="table1 ... table6, figure1, figure4, repository or bccd")
    verb.add_argument("--list", action="store_true", help="print the cells, what was published, and the command of each; run nothing")
    verb.add_argument("--collect", action="store_true", help="write the tables and the plot of what has been run; run nothing")
    verb.add_argument("--cells", nargs="+", default=(), metavar="NAME", help="only these cells")
    verb.add_argument(
        "--data", metavar="FOLDER", help="COCO-format set: annotations/{train,val}.json with images/ or train/ and val/; or COCO"
    )
    verb.add_argument("--scale", type=float, metavar="S", help="0..1: smaller images, batches and networks, fewer epochs, to see the trend")
    verb.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each cell, with seeds 0 to N - 1; default 1")
    verb.add_argument("--out", default="runs/reproduce", metavar="DIR", help="runs go to DIR/TABLE/CELL/seed<k>; default runs/reproduce")
    verb.add_argument("--own", metavar="FILE", help="figure4: YAML list of {name, AP, hours, fps} to draw beside the published points")
    verb.add_argument("--no-plot", action="store_true", help="do without matplotlib")


def run(args: argparse.Namespace) -> int:
    """Runs the cells of a table or figure one after the other and holds them against what was published. The same command goes on
    where it was stopped."""
    published = read_published()
    # What follows --cells NAME ... on the line arrives there.
    overrides = [*(name for name in args.cells if "=" in name), *args.rest]
    names = [name for name in args.cells if "=" not in name]
    if args.own is not None and args.table != _FIGURE4:
        raise UserError(f"--own goes with {_FIGURE4}, not with {args.table}")
    if args.table == _FIGURE4:
        return _figure4(args, published, names, overrides)
    table = _table(published, args.table)
    folder = None if args.data is None else data_folder(args.data)
    runs = plan(
        table,
        select(table, names),
        out=Path(args.out),
        seeds=args.seeds,
        data=folder.settings if folder else (),
        scale=args.scale,
        overrides=overrides,
    )
    if args.list:
        _print_list(table, runs)
        return 0
    is_published_set = folder is None or folder.is_coco
    about = results.Circumstances(is_published_set and args.scale is None, args.data, args.scale, tuple(overrides))
    if not args.no_plot:
        plots.require_matplotlib()
    finished = args.collect or _train(runs)
    found = results.collect(runs)
    files = results.write(table, found, about, Path(args.out) / table.name, plot=not args.no_plot)
    print(results.markdown(table, found, about), end="")
    print(f"written: {', '.join(map(str, files))}")
    return 0 if finished else _INTERRUPTED


def _train(runs: Sequence[Run]) -> bool:
    check_data(runs)
    if all(map(is_done, runs)):
        return run_all(runs, lambda config, folder: None)  # says so, and starts no TensorFlow

    from ttfnet_tf.training.loop import run_training

    return run_all(runs, run_training)


def _table(published: Published, name: str) -> Table:
    if name not in published.tables and name.startswith("figure"):
        raise UserError(f"unknown table '{name}'; of the paper's figures there are figure1 and {_FIGURE4}")
    return published.table(name)


def _print_list(table: Table, runs: Sequence[Run]) -> None:
    print(f"{table.name}: {table.title} ({table.source}); {len(table.cells)} cells")
    print(table.question)
    for number, one in enumerate(runs):
        if number == 0 or runs[number - 1].cell is not one.cell:
            print(f"\n{one.cell.name}: {_target(one.cell)}")
        print(f"  {one.command}")


def _target(cell: Cell) -> str:
    """AP with its tolerance, and the other figures."""
    if not cell.published:
        return "nothing was published"
    figures = dict(cell.published)
    parts = [f"AP {figures.pop('AP'):.1f}" + ("" if cell.tolerance is None else f" +- {cell.tolerance:g}")] if "AP" in figures else []
    return ", ".join(parts + [f"{name} {value:g}" for name, value in figures.items()])


def _figure4(args: argparse.Namespace, published: Published, names: Sequence[str], overrides: Sequence[str]) -> int:
    for option, value in (("--cells", names), ("--data", args.data), ("--scale", args.scale), ("key=value", overrides)):
        if value:
            raise UserError(
                f"{option} does not go with {_FIGURE4}, which runs nothing: it draws published figures and those of --own and --out"
            )
    own = _read_own(args.own) if args.own else []
    for name in ("table6", "repository"):
        own += results.own_points(Path(args.out) / name)
    points = results.trade_off_points(published, own)
    for family, name, figures in points:
        print(f"{family:10} {name:22} " + "  ".join(f"{key} {figures[key]:g}" for key in ("AP", "hours", "fps") if key in figures))
    if not args.list and not args.no_plot:
        file = Path(args.out) / _FIGURE4 / "results.png"
        plots.trade_offs(file, points)
        print(f"written: {file}")
    return 0


def _read_own(file: str) -> list[dict[str, Any]]:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"--own {file}: cannot be read ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(content, list):
        raise UserError(f"--own {file}: must be a list such as - {{name: mine, AP: 30.1, hours: 2.0, fps: 100}}")
    for entry in content:
        numbers = isinstance(entry, Mapping) and all(isinstance(entry.get(key, 0), (int, float)) for key in ("AP", "hours", "fps"))
        if not numbers or "name" not in entry or "AP" not in entry or not {"hours", "fps"} & set(entry):
            raise UserError(f"--own {file}: {entry} must have name, AP in percent, and hours or fps")
    return content
