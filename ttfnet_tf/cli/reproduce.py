"""`ttfnet reproduce`: runs the paper's tables and figures, and compares with what was published."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.outputs import refuse_to_overwrite
from ttfnet_tf.reproduce import figure4, plots, tables
from ttfnet_tf.reproduce.cells import Cell, Published, Table, read_published, select
from ttfnet_tf.reproduce.plan import Run, check_data, data_folder, plan
from ttfnet_tf.reproduce.results import collect
from ttfnet_tf.reproduce.run import is_done, run_all

_FIGURE4 = "figure4"
_INTERRUPTED = 130


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "reproduce",
        run,
        "run the paper's tables, compare with the published figures",
        "key=value",
        description="Runs the cells of a table one after the other and compares them with what was published; the same command resumes.",
        epilog="Settings follow as key=value and apply to every cell, e.g. train.batch_size=16; docs/ablations.md explains everything.",
        examples=("ttfnet reproduce table2 --list", "ttfnet reproduce table2 --data COCO --scale 0.25"),
    )
    verb.add_argument("table", metavar="TABLE", help="table1 ... table6, figure1, figure4, repository or bccd")
    verb.add_argument("--list", action="store_true", help="print the cells, the published figures and the commands; run nothing")
    verb.add_argument("--collect", action="store_true", help="write table and plot of the runs so far; run nothing")
    verb.add_argument("--cells", nargs="+", default=(), metavar="NAME", help="only these cells")
    verb.add_argument(
        "--data", metavar="FOLDER", help="data set: annotations/{train,val}.json with images/ or train/ and val/; or COCO 2017"
    )
    verb.add_argument("--scale", type=float, metavar="S", help="0..1: smaller images, batches and networks, fewer epochs, to see the trend")
    verb.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each cell, with seeds 0 to N - 1; default 1")
    verb.add_argument("--out", default="runs/reproduce", metavar="DIR", help="runs go to DIR/TABLE/CELL/seed<k>; default runs/reproduce")
    verb.add_argument("--own", metavar="FILE", help="for figure4: YAML list of {name, AP, hours, fps} to draw beside the published points")
    add_overwrite(verb)
    verb.add_argument("--no-plot", action="store_true", help="draw no plot; matplotlib is not needed")


def run(args: argparse.Namespace) -> int:
    """Makes the missing runs, writes and prints the table; returns the exit code."""
    published = read_published()
    # argparse gives key=value after --cells NAME ... to --cells.
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
    about = tables.Conditions(is_published_set and args.scale is None, args.data, args.scale, tuple(overrides))
    _check_output(Path(args.out) / table.name, tables.RESULTS, args)
    if not args.no_plot:
        plots.require_matplotlib()
    finished = args.collect or _train(runs)
    found = collect(runs)
    files = tables.write_results(table, found, about, Path(args.out) / table.name, plot=not args.no_plot)
    print(tables.as_markdown(table, found, about), end="")
    print(f"written: {', '.join(map(str, files))}")
    return 0 if finished else _INTERRUPTED


def _train(runs: Sequence[Run]) -> bool:
    check_data(runs)
    if all(map(is_done, runs)):
        return run_all(runs, lambda config, folder: None)  # prints that, without starting TensorFlow

    from ttfnet_tf.training.run import run_training

    def train(config, folder):
        try:
            return run_training(config, folder)
        finally:
            gc.collect()  # frees the last network, which reference cycles keep alive

    return run_all(runs, train)


def _check_output(folder: Path, names: Sequence[str], args: argparse.Namespace) -> None:
    """Raises UserError if results would replace files of others; those of earlier versions are known by results.json."""
    for name in names:
        refuse_to_overwrite(
            folder / name,
            tables.WRITER,
            inputs=[args.own],
            overwrite=args.overwrite,
            is_own=lambda file: tables.is_result(file.with_name("results.json")),
            hint="name another folder with --out, or add --overwrite",
        )


def _table(published: Published, name: str) -> Table:
    if name not in published.tables and name.startswith("figure"):
        raise UserError(f"unknown table '{name}'; of the paper's figures only figure1 and {_FIGURE4} can be reproduced")
    return published.table(name)


def _print_list(table: Table, runs: Sequence[Run]) -> None:
    print(f"{table.name}: {table.title} ({table.source}); {len(table.cells)} cells")
    print(table.question)
    for number, one in enumerate(runs):
        if number == 0 or runs[number - 1].cell is not one.cell:
            print(f"\n{one.cell.name}: {_target(one.cell)}")
        print(f"  {one.command}")


def _target(cell: Cell) -> str:
    """AP with its tolerance, and the other published figures."""
    if not cell.published:
        return "no published figures"
    figures = dict(cell.published)
    parts = [f"AP {figures.pop('AP'):.1f}" + ("" if cell.tolerance is None else f" +- {cell.tolerance:g}")] if "AP" in figures else []
    return ", ".join(parts + [f"{name} {value:g}" for name, value in figures.items()])


def _figure4(args: argparse.Namespace, published: Published, names: Sequence[str], overrides: Sequence[str]) -> int:
    for option, value in (("--cells", names), ("--data", args.data), ("--scale", args.scale), ("key=value", overrides)):
        if value:
            raise UserError(
                f"{option} does not go with {_FIGURE4}, which runs nothing: it draws the published figures and those of --own and --out"
            )
    own = figure4.read_own_points(args.own) if args.own else []
    for name in figure4.TABLES:
        own += figure4.own_points(Path(args.out) / name)
    points = figure4.trade_off_points(published, own)
    for family, name, figures in points:
        print(f"{family:10} {name:22} " + "  ".join(f"{key} {figures[key]:g}" for key in ("AP", "hours", "fps") if key in figures))
    if not args.list and not args.no_plot:
        file = Path(args.out) / _FIGURE4 / "results.png"
        _check_output(file.parent, [file.name], args)
        plots.trade_offs(file, points)
        print(f"written: {file}")
    return 0
