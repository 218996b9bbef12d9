"""The measurement of fine-tuning without its trainings: runs, settings, documents and rows."""

import importlib.util
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError


@pytest.fixture(scope="module")
def tool(root):
    """tools/fine_tuning.py as a module."""
    spec = importlib.util.spec_from_file_location("fine_tuning_tool", root / "tools/fine_tuning.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look it up
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("network", ["ttfnet18", "edge_r18_plain", "edge_mobilenet"])
def test_the_settings_of_every_run_load(tool, tmp_path, network):
    for run in tool.plan(600, 4):
        _, recipe, *overrides = tool.command_of(run, network, tmp_path, 3, "float32", tmp_path, [])
        config = load_config(recipe, [word for word in overrides if "=" in word])
        assert (config.train.steps, config.train.seed, config.train.batch_size) == (600 if run.name in ("four", "scratch") else 150, 3, 8)
        assert config.model.pretrained == (str(tmp_path / "four") if run.name == "tuned" else None)
        assert config.data.train.images == str(tmp_path / ("four" if run.name == "four" else "five") / "train")
        assert config.data.size == (128, 128)


def test_from_scratch_is_the_demo(tool):
    """700 steps of 200 images are twice the epochs of 400 images, so the drops are at the same steps."""
    demo = load_config("configs/demo.yaml").optim
    (scratch,) = [run for run in tool.plan(700, 4) if run.name == "scratch"]
    _, recipe, *overrides = tool.command_of(scratch, "ttfnet18", tool.ROOT, 0, "float32", tool.ROOT, [])
    found = load_config(recipe, [word for word in overrides if "=" in word]).optim
    assert [2 * epoch for epoch in demo.drop_epochs] == found.drop_epochs
    assert (found.lr, found.lr_batch_size, found.warmup_steps, found.warmup_ratio, found.clip_norm) == (0.006, 8, 150, 0.02, 10)
    assert (demo.lr, demo.lr_batch_size, demo.warmup_steps, demo.warmup_ratio, demo.clip_norm) == (0.006, 8, 150, 0.02, 10)


def test_the_document_has_the_settings_of_fine_tuning(tool, root):
    text = (root / "docs/own_data.md").read_text(encoding="utf-8")
    for setting in tool.FINE_TUNING:
        key, value = setting.split("=")
        assert re.search(rf"\b{key.split('.')[-1]}: {re.escape(value)}[,}}]", text), setting


def test_settings_may_stand_behind_options(tool):
    args = tool.parse(["ttfnet18", "--only", "tuned", "--parts", "8", "optim.lr=0.003"])
    assert (args.network, args.only, args.parts, args.settings) == ("ttfnet18", ["tuned"], 8, ["optim.lr=0.003"])


def test_the_commands_of_the_page_parse(tool, root):
    text = (root / "docs/benchmarks/fine_tuning.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python tools/fine_tuning\.py (.*)$", text, flags=re.MULTILINE)
    assert [tool.parse(command.split()).network for command in commands] == list(tool.NETWORKS)


def test_the_sets_differ_and_the_new_class_is_in_one(tool):
    (four, first), (five, second) = tool.SETS.values()
    assert first != second
    assert set(five) - set(four) == {tool.NEW}


def test_runs_with_other_settings_have_folders_of_their_own(tool):
    short, long = (next(run for run in tool.plan(600, parts) if run.name == "tuned") for parts in (4, 8))
    names = {tool.folder_name(short, []), tool.folder_name(long, []), tool.folder_name(short, ["optim.lr=1"])}
    assert len(names) == 3
    (four, *_) = tool.plan(600, 4)
    assert tool.folder_name(four, ["optim.lr=1"]) == "four"


@pytest.mark.parametrize(("steps", "parts"), [(39, 4), (600, 0), (600, 61)])
def test_a_run_needs_steps(tool, capsys, steps, parts):
    assert tool.main(["ttfnet18", "--steps", str(steps), "--parts", str(parts)]) == 2
    assert capsys.readouterr().err == f"fine_tuning.py: --steps {steps} --parts {parts}: N / P must be 10 or more\n"


def _metrics(steps, **per_class):
    lines = [{"step": 1, "loss": 2.0}, {"step": steps, "AP": 0.123456, "AP50": 0.5, "per_class": per_class}]
    return "\n".join(json.dumps(line) for line in lines)


def test_rows(tool, tmp_path):
    four, tuned, *_ = tool.plan(600, 4)
    rows = [
        tool.row_of(four, "ttfnet18", 0, "float32", _metrics(600, circle=0.2), ["optim.lr=1"]),
        tool.row_of(tuned, "ttfnet18", 0, "float32", _metrics(150, circle=0.2, star=0.31), ["optim.lr=1"]),
    ]
    for row in (*rows, rows[0]):  # once more changes nothing
        tool.add_row(tmp_path / "a.csv", row)
    assert (tmp_path / "a.csv").read_text() == (
        "network,run,classes,start,steps,seed,precision,AP,AP50,AP_new,settings\n"
        "ttfnet18,four,4,scratch,600,0,float32,0.1235,0.5,,\n"
        "ttfnet18,tuned,5,four,150,0,float32,0.1235,0.5,0.31,optim.lr=1\n"
    )
    with pytest.raises(UserError, match="the run four has no evaluation at step 600"):
        tool.row_of(four, "ttfnet18", 0, "float32", _metrics(599), [])
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"b\.csv: has other columns; name another file by --out"):
        tool.add_row(tmp_path / "b.csv", rows[0])


def test_runs_stand_in_order_and_the_first_that_fails_ends_it(tool, tmp_path, monkeypatch):
    """The trainings are replaced: each writes its metrics, and the third fails."""
    started = []

    def train(command, check):
        folder = command[command.index("--work-dir") + 1]
        (steps,) = (int(word.partition("=")[2]) for word in command if word.startswith("train.steps="))
        started.append((folder, steps))
        path = tmp_path / folder
        path.mkdir(parents=True)
        (path / "metrics.jsonl").write_text(_metrics(steps, star=0.1))
        return SimpleNamespace(returncode=3 if len(started) == 3 else 0)

    monkeypatch.setattr(subprocess, "run", train)
    monkeypatch.setattr(tool, "draw_shapes", lambda *_, **__: None)
    code = tool.main(["edge_mobilenet", "--steps", "40", "--work", str(tmp_path), "--out", str(tmp_path / "rows.csv")])
    assert code == 3
    folder = tmp_path / "edge_mobilenet-40-float32-seed0"
    assert started == [(f"{folder}/four", 40), (f"{folder}/tuned_10", 10), (f"{folder}/scratch", 40)]
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3


def test_one_run_alone_brings_the_one_it_starts_from(tool, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(tool, "draw_shapes", lambda *_, **__: None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: started.append(command) or SimpleNamespace(returncode=0))
    monkeypatch.setattr(tool, "row_of", lambda run, *_: run)
    monkeypatch.setattr(tool, "add_row", lambda *_: None)
    monkeypatch.setattr(tool.Path, "read_text", lambda *_, **__: "")
    for only in ("tuned", "short"):
        assert tool.main(["ttfnet18", "--only", only, "--work", str(tmp_path)]) == 0
    names = [command[command.index("--work-dir") + 1].rpartition("/")[2] for command in started]
    assert names == ["four", "tuned_150", "short_150"]
