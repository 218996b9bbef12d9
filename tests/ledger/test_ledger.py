"""The runner of the ledger without the systems it compares: time, rows, boxes, environments, and a run of a driver that does not train."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "ledger"
MODULES = ("budget", "rows", "catalog", "environments", "data_sets", "page", "run", "job", "ours", "ultralytics_yolo")


@pytest.fixture(scope="module")
def ledger():
    """Its modules; their short names mean what they meant before again afterwards."""
    before, others = list(sys.path), {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path[:0] = [str(FOLDER), str(FOLDER / "peers")]
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    sys.path[:] = before
    for name in MODULES:
        del sys.modules[name]
    sys.modules.update(others)


@pytest.fixture
def row(ledger):
    """A row with a comma in its processor."""
    return ledger.rows.Row(
        system="a",
        version="1.0",
        data="cells",
        start="none",
        minutes=5.0,
        minutes_used=4.98765,
        minutes_whole=6.5,
        images_per_second=7.0,
        AP=0.12345,
        AP50=0.5,
        parameters=1_500_000,
        input="256x256",
        batch=8,
        seed=0,
        cores=2,
        processor="Some, processor",
        commit="abc",
        command="python tools/ledger/run.py a cells",
    )


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


def test_the_budget_counts_training_alone(ledger):
    clock = Clock()
    budget = ledger.budget.Budget(10.0, clock)
    clock.now += 3  # before the first batch
    assert budget.used == 0
    budget.start()
    clock.now += 4
    assert (budget.used, budget.fraction, budget.is_over) == (4.0, 0.4, False)
    budget.pause()
    clock.now += 50  # an evaluation
    assert budget.used == 4
    budget.start()
    clock.now += 7
    assert (budget.used, budget.fraction, budget.is_over) == (11.0, 1.0, True)
    with pytest.raises(ValueError, match="seconds=0"):
        ledger.budget.Budget(0)


@pytest.mark.parametrize(
    ("seconds", "first", "step", "steps"),
    [(60, 10, 0.5, 101), (60, 10, 0.7, 72), (10, 10, 0.5, 1), (5, 10, 0.5, 1)],  # 1 + 50 / .5, 1 + 71.4, the first alone
)
def test_steps_that_end_within_a_time(ledger, seconds, first, step, steps):
    assert ledger.budget.steps_in(seconds, first, step) == steps


def test_the_first_step_of_a_timed_run_is_told_from_the_others(ledger):
    """12 s of tracing in the first step, half a second for each further one."""
    lines = [{"step": step, "training_seconds": 12 + 0.5 * (step - 1), "images_per_second": 16.0} for step in (5, 10, 15, 20)]
    lines.append({"step": 20, "AP": 0.1, "training_seconds": 99.0})  # of an evaluation
    assert ledger.budget.step_seconds(lines, 8) == pytest.approx((12.0, 0.5))
    with pytest.raises(ValueError, match="1 lines with a speed, expected two or more"):
        ledger.budget.step_seconds(lines[:1], 8)


def test_drops_of_the_rate_stay_at_their_fractions(ledger):
    assert ledger.budget.scaled_drops([18, 22], 24, 12) == [9.0, 11.0]
    assert ledger.budget.scaled_drops([9, 11], 12, 0.5) == [0.375, 0.458]
    rates = [ledger.budget.multi_step(fraction, (0.6, 0.8)) for fraction in (0.0, 0.59, 0.6, 0.8, 1.0)]
    assert rates == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_rows_come_back_from_their_file(ledger, row, tmp_path):
    file = tmp_path / "new" / "rows.csv"
    silent = dataclasses.replace(row, images_per_second=None, seed=1)
    for one in (row, silent):
        ledger.rows.append_row(file, one)
    head, first, _ = file.read_text(encoding="utf-8").splitlines()
    assert head.startswith("system,version,data,start,minutes,minutes_used")
    assert first.startswith("a,1.0,cells,none,5,4.99,6.50,7.00,0.123,0.500,1500000,256x256,8,0,2,")
    read = ledger.rows.read_rows(file)
    assert read == [dataclasses.replace(one, minutes_used=4.99, AP=0.123) for one in (row, silent)]
    assert ledger.rows.read_rows(tmp_path / "none.csv") == []


def test_files_that_are_not_rows_are_refused(ledger, row, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("system,AP\nx,0.1\n")
    with pytest.raises(ValueError, match="has the columns system, AP, expected system, version"):
        ledger.rows.append_row(other, row)
    assert other.read_text() == "system,AP\nx,0.1\n"
    short = tmp_path / "short.csv"
    short.write_text(",".join(ledger.rows.FIELDS) + "\nx,0.1\n")
    with pytest.raises(ValueError, match="line 2: 2 values, expected 18"):
        ledger.rows.read_rows(short)
    short.write_text(",".join(ledger.rows.FIELDS) + "\n" + ",".join(["x"] * 18) + "\n")
    with pytest.raises(ValueError, match="line 2: could not convert string to float: 'x'"):
        ledger.rows.read_rows(short)
    with pytest.raises(ValueError, match="AP=nan"):
        ledger.rows.append_row(tmp_path / "nan.csv", dataclasses.replace(row, AP=float("nan")))


def test_a_run_that_is_repeated_replaces_its_row(ledger, row):
    again, other = dataclasses.replace(row, AP=0.2), dataclasses.replace(row, minutes=10.0)
    assert ledger.rows.latest([row, other, again]) == [again, other]


@pytest.fixture
def split(tmp_path):
    """Two images with ids and category ids that have gaps; the second has no box that counts."""
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 20}, {"id": 9, "file_name": "b.png", "width": 40, "height": 20}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [4, 2, 8, 6], "area": 48, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [36, 10, 8, 8], "area": 64, "iscrowd": 0},  # 4 px outside
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 1},
            {"id": 4, "image_id": 9, "category_id": 3, "bbox": [0, 0, 8, 0.5], "area": 4, "iscrowd": 0},
        ],
        "categories": [{"id": 5, "name": "late"}, {"id": 3, "name": "early"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    return {"annotations": str(tmp_path / "a.json"), "images": str(tmp_path)}


def test_examples_are_corners_and_indices(ledger, split):
    (example,), ids, names = ledger.job.read_examples(split, training=True)
    assert (ids, names, example.id, example.size) == ([3, 5], ["early", "late"], 7, (20, 40))
    np.testing.assert_array_equal(example.boxes, [[4, 2, 12, 8], [36, 10, 44, 18]])
    np.testing.assert_array_equal(example.labels, [1, 0])
    assert [one.id for one in ledger.job.read_examples(split, training=False)[0]] == [7, 9]


def test_detections_are_written_as_coco_has_them(ledger):
    """Best first, continuous widths, category ids, without those too weak to count; 100 at most."""
    boxes = [[1, 2, 5, 10], [0, 0, 3, 3], [0, 0, 1, 1]]
    found = ledger.job.coco_results(7, boxes, [0.25, 0.75, 0.01], [1, 0, 0], [3, 5])
    assert found == [
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 3, 3], "score": 0.75},
        {"image_id": 7, "category_id": 5, "bbox": [1, 2, 4, 8], "score": 0.25},
    ]
    assert ledger.job.coco_results(7, np.zeros([0, 4]), [], [], [3]) == []
    assert len(ledger.job.coco_results(7, np.ones([150, 4]), np.full(150, 0.5), np.zeros(150), [3])) == 100


def test_batches_pass_over_all_images_in_every_epoch(ledger):
    order = ledger.job.orders(7, 3, seed=0)
    epochs = [np.concatenate([next(order), next(order)]).tolist() for _ in range(2)]  # the seventh waits for another order
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert next(ledger.job.orders(2, 8, seed=0)).size == 2
    first, again = (next(ledger.job.orders(7, 3, seed=1)).tolist() for _ in range(2))
    assert first == again


def test_label_files_of_yolo_are_fractions_cut_at_the_border(ledger, split):
    (example,), _, _ = ledger.job.read_examples(split, training=True)
    lines = [ledger.ultralytics_yolo.label_line(box, label, example.size) for box, label in zip(example.boxes, example.labels)]
    assert lines == ["1 0.200000 0.250000 0.200000 0.300000\n", "0 0.950000 0.700000 0.100000 0.400000\n"]


def test_the_last_epoch_of_ultralytics_may_be_a_part_of_one(ledger):
    """Two epochs of 300 images in 100 s, then the rest of the time; validation ends at 180 s."""
    text = "epoch,  time\n1,60\n2,100\n3,180\n"
    assert ledger.ultralytics_yolo.training_figures(text, 300, 150.0) == (150.0, 900.0)
    assert ledger.ultralytics_yolo.training_figures("epoch,time\n1,20\n", 300, 60.0) == (20.0, None)


@pytest.mark.parametrize(
    ("recipe", "weights", "file", "values"),
    [
        (
            "official",
            None,
            "bccd_r18_scratch.yaml",
            {"drop_epochs": [576.0, 704.0], "warmup_steps": 48, "lr": 0.008},
        ),  # 3/4 and 11/12 of 768
        ("official", "w.npz", "bccd_r18.yaml", {"drop_epochs": [576.0, 704.0], "warmup_steps": 48, "lr": 0.008}),
        ("fast", None, "fast.yaml", {"schedule": "trapezoid", "warmup_steps": 48, "lr": 0.008, "clip_norm": 10.0}),
        ("fast", "w.npz", "fast.yaml", {"schedule": "trapezoid", "warmup_steps": 48, "lr": 0.008, "clip_norm": 10.0}),
    ],
)
def test_a_recipe_is_made_as_long_as_the_time(ledger, split, tmp_path, monkeypatch, recipe, weights, file, values):
    """2 s for the first step, .606 s for others: 96 steps of 8 images in a minute, so 768 epochs of the one image that has boxes."""
    calls = []

    def fake_ttfnet(*words):
        calls.append(words)
        run = Path(words[words.index("--work-dir") + 1])
        run.mkdir()
        lines = [{"step": k, "training_seconds": 2 + 0.606 * (k - 1), "images_per_second": 13.2} for k in (5, 10, 15, 20)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(ledger.ours, "ttfnet", fake_ttfnet)
    settings = {"recipe": recipe}
    job = {"settings": settings, "train": split, "val": split, "seed": 3, "size": None, "minutes": 1.0, "weights": weights}
    assert ledger.ours.train_recipe(job, tmp_path) == tmp_path / "run"
    (_, config, *words), (verb, again, *last) = calls
    assert (config, again, verb) == (f"configs/{file}", config, "train")
    assert "train.steps=20" in words
    overrides = [word for word in last if "=" in word]
    resolved = load_config(FOLDER.parents[1] / config, overrides)
    assert len({word.partition("=")[0] for word in overrides}) == len(overrides)
    assert (resolved.train.steps, resolved.train.seed, resolved.model.pretrained) == (96, 3, weights)
    assert {name: getattr(resolved.optim, name) for name in values} == values


def test_every_system_has_its_driver(ledger):
    for name, system in ledger.catalog.SYSTEMS.items():
        assert (FOLDER / "peers" / system.driver).is_file(), name
        for _, packages in system.layers:
            assert all("==" in package for package in packages), name


def test_options_that_a_system_does_not_take_are_refused(ledger, tmp_path):
    weights = tmp_path / "w.npz"
    weights.touch()
    for words, message in [
        (["fit", "x", "--minutes", "0"], "--minutes 0: each must lie above 0 and below 1440"),
        (["ultralytics-yolo11n", "x", "--weights", str(weights)], "--weights: ultralytics-yolo11n starts from random weights only"),
        (["fit", "x", "--weights", "none.npz"], "--weights none.npz: no such file"),
        (["torchvision-ssdlite", "x", "--size", "256"], "--size: torchvision-ssdlite has an input size of its own"),
        (["fit", "x", "--size", "250"], "--size 250 must be a multiple of 32"),
        (["fit", "x", "--cores", "0"], "--cores 0 must be 1 or more"),
    ]:
        with pytest.raises(UserError) as error:
            ledger.run.check(ledger.run.parse(words))
        assert str(error.value) == message
    args = ledger.run.parse(["fast", "some/cells", "--minutes", "5", "10", "--weights", str(weights), "--size", "256"])
    assert ledger.run.check(args) is ledger.catalog.SYSTEMS["fast"]
    command = "python tools/ledger/run.py fast cells --minutes 10 --seed 0 --weights w.npz --size 256"
    assert ledger.run.command_of(args, 10.0, "cells") == command


def test_folders_that_are_no_data_set_are_refused(ledger, tmp_path):
    with pytest.raises(UserError, match="no-such: no such folder, and not one of shapes-400, shapes-100"):
        ledger.data_sets.find("no-such", tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text("{}")
    with pytest.raises(UserError, match=r"needs annotations/train\.json and annotations/val\.json, found train"):
        ledger.data_sets.find(str(tmp_path), tmp_path)


def test_environments_lie_on_top_of_each_other_and_are_made_once(ledger, tmp_path, monkeypatch):
    calls = []

    def fake_run(command, check):
        calls.append(command[1:])
        if command[1:3] == ["-m", "venv"]:
            (Path(command[3]) / "lib" / "python3.11" / "site-packages").mkdir(parents=True)

    monkeypatch.setattr(ledger.environments.subprocess, "run", fake_run)
    layers = (("base", ("torch==1",)), ("top", ("yolo==2",)))
    python = ledger.environments.python_of(layers, tmp_path)
    assert python.parent.parent == tmp_path / "top"
    assert [call[-1] for call in calls if "pip" in call] == ["torch==1", "yolo==2"]
    below = tmp_path / "top" / "lib" / "python3.11" / "site-packages" / "ledger_layers.pth"
    assert below.read_text() == f"{tmp_path / 'base' / 'lib' / 'python3.11' / 'site-packages'}\n"
    calls.clear()
    assert ledger.environments.python_of(layers, tmp_path) == python
    assert calls == []
    assert ledger.environments.python_of((), tmp_path) == Path(sys.executable)


def test_drivers_have_no_network_and_as_many_threads_as_cores(ledger, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    variables = ledger.environments.variables(tmp_path, 2)
    assert variables["HTTPS_PROXY"] == variables["http_proxy"] == "http://127.0.0.1:9"
    assert "no_proxy" not in variables
    assert variables["OMP_NUM_THREADS"] == "2"


_DRIVER = """
import json, sys
job = json.load(open(sys.argv[1]))
truth = json.load(open(job["val"]["annotations"]))
keys = ("image_id", "category_id", "bbox")
json.dump([{**{key: one[key] for key in keys}, "score": 0.5} for one in truth["annotations"]], open("detections.json", "w"))
facts = {"version": "9", "seconds": 30.0, "images": 60, "parameters": 5, "input": "64x64", "batch": 2}
json.dump(facts, open("result.json", "w"))
sys.exit(job["settings"]["code"])
"""


@pytest.fixture
def stub(ledger, tmp_path, monkeypatch):
    """A system that answers with the annotations, and a set of few shapes."""
    (tmp_path / "driver.py").write_text(_DRIVER)
    for name, code in (("perfect", 0), ("broken", 3)):
        monkeypatch.setitem(
            ledger.catalog.SYSTEMS, name, ledger.catalog.System(driver=str(tmp_path / "driver.py"), settings={"code": code})
        )
    monkeypatch.setitem(ledger.data_sets.DRAWN, "few", {"train": 2, "val": 3, "size": (64, 64), "seed": 0})
    return ["few", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "rows.csv"), "--cores", "1"]


@pytest.fixture
def same_cores():
    """The processors of this process are the same again afterwards."""
    import os

    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if before is not None:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("same_cores")
def test_a_run_adds_a_row_for_each_number_of_minutes(ledger, stub, tmp_path, capsys):
    assert ledger.run.main(["perfect", *stub, "--minutes", "0.5", "2", "--seed", "4"]) == 0
    assert "AP 1.000, AP50 1.000 after 0.5 min" in capsys.readouterr().out
    first, second = ledger.rows.read_rows(tmp_path / "rows.csv")
    assert (first.minutes, second.minutes) == (0.5, 2.0)
    assert (first.AP, first.AP50, first.minutes_used, first.images_per_second) == (1.0, 1.0, 0.5, 2.0)
    assert first.command == "python tools/ledger/run.py perfect few --minutes 0.5 --seed 4 --cores 1"
    assert (tmp_path / "work" / "data" / "few" / "annotations" / "train.json").is_file()
    # Called again it runs what has no row yet.
    assert ledger.run.main(["perfect", *stub, "--minutes", "2", "3", "--seed", "4"]) == 0
    assert "--minutes 2 --seed 4 --cores 1: has a row in " in capsys.readouterr().out
    assert ledger.run.main(["perfect", *stub, "--minutes", "2", "--seed", "4", "--again"]) == 0
    assert [row.minutes for row in ledger.rows.read_rows(tmp_path / "rows.csv")] == [0.5, 2.0, 3.0, 2.0]


@pytest.mark.usefixtures("same_cores")
def test_a_driver_that_fails_adds_no_row(ledger, stub, tmp_path, capsys):
    assert ledger.run.main(["broken", *stub, "--minutes", "1", "2"]) == 2
    for run, line in zip(("1", "2"), capsys.readouterr().err.splitlines()):
        assert f"broken-few-none-{run}-seed0/log.txt: the run ended with code 3; its last lines say why" in line
    assert not (tmp_path / "rows.csv").exists()
    (tmp_path / "rows.csv").write_text("system,AP\n")
    assert ledger.run.main(["perfect", *stub, "--minutes", "1", "--again"]) == 2
    assert "rows.csv: has the columns system, AP, expected" in capsys.readouterr().err
    assert not (tmp_path / "work" / "runs" / "perfect-few-none-1-seed0").exists()


def test_the_page_has_a_table_for_each_data_set(ledger, row):
    rows = [
        row,
        dataclasses.replace(row, seed=1, AP=0.25, AP50=0.6),
        dataclasses.replace(row, system="b", minutes=10.0, AP=0.3, start="imagenet"),
    ]
    text = ledger.page.body(rows, {("cells", row.processor): "cells.png"})
    assert f"### cells, {row.processor}" in text
    assert "| b (1.0) | imagenet | 256x256 | 1.5 M | 7.0 | not run | .300 (.500) |" in text
    assert "| a (1.0) | none | 256x256 | 1.5 M | 7.0 | .187 (.550, 2 seeds) | not run |" in text
    assert text.index("| b (") < text.index("| a (")
    assert "![AP by minute on cells](cells.png)" in text
    assert ledger.page.curves_of(rows) == {"a": [(5.0, pytest.approx(0.186725))], "b, imagenet": [(10.0, 0.3)]}


def test_a_system_that_chooses_its_input_by_the_minutes_is_one_line(ledger, row):
    longer = dataclasses.replace(row, minutes=10.0, input="384x384", images_per_second=3.0)
    named = dataclasses.replace(row, command=f"{row.command} --size 512", input="512x512")
    text = ledger.page.body([row, longer, named], {})
    assert "| a (1.0) | none | 256x256, 384x384 | 1.5 M | 7.0, 3.0 | .123 (.500) | .123 (.500) |" in text
    assert "| a (1.0) | none | 512x512 | 1.5 M | 7.0 | .123 (.500) | not run |" in text
    assert set(ledger.page.curves_of([row, longer, named])) == {"a", "a 512 px"}
    again = dataclasses.replace(row, input="288x288")  # by another commit
    assert ledger.rows.latest([row, again, named]) == [again, named]


def test_rows_of_two_processors_are_two_tables(ledger, row):
    other = dataclasses.replace(row, system="b", processor="Intel(R) Xeon(R) X")
    text = ledger.page.body([row, other], {})
    assert (
        text.index(f"### cells, {row.processor}")
        < text.index("| a (1.0)")
        < text.index("### cells, Intel Xeon X")
        < text.index("| b (1.0)")
    )
    assert ledger.page.image_name(("cells", other.processor)) == "minutes_to_ap_cells_intel_xeon_x.png"


def test_only_what_is_between_the_markers_of_the_page_changes(ledger):
    begin, end = ledger.page.BEGIN, ledger.page.END
    assert ledger.page.with_body(f"a\n{begin}\nold\n{end}\nb\n", "new") == f"a\n{begin}\n\nnew\n\n{end}\nb\n"
    with pytest.raises(ValueError, match="the page needs one line"):
        ledger.page.with_body(f"{end}{begin}", "new")


def test_the_page_shows_the_rows_that_are_there(ledger):
    """As `python tools/ledger/page.py` writes it."""
    folder = FOLDER.parents[1] / "docs" / "benchmarks"
    rows = ledger.rows.read_rows(folder / "minutes_to_ap.csv")
    images = {place: f"../images/{ledger.page.image_name(place)}" for place in ledger.page.by_place(rows)}
    assert all((folder / image).is_file() for image in images.values())
    text = (folder / "minutes_to_ap.md").read_text(encoding="utf-8")
    assert ledger.page.with_body(text, ledger.page.body(rows, images)) == text


def test_help_needs_no_other_package():
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import run; run.parse(['fit', 'x']); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
