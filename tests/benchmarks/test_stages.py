"""Stages of training and detection: what is timed, and the printed table."""

import json
import re

import pytest

from ttfnet_tf import cli
from ttfnet_tf.benchmarks.stages import WARM_UP, Stage, peak_memory_gb, time_stage


def test_calls_after_the_warm_up_are_timed():
    events = []
    stage = time_stage("  forward", lambda: events.append("call"), repeats=3, images=8, on_stage=events.append)
    assert events == ["forward", *["call"] * (WARM_UP + 3)]
    assert (stage.name, len(stage.milliseconds), stage.images) == ("  forward", 3, 8)


def test_a_line_has_median_spread_and_speed():
    line = str(Stage("  forward", tuple(float(value) for value in range(101)), images=4))
    assert line.split() == ["forward", "50.0", "ms", "(10.0", "..", "90.0)", "80.0", "images/s"]


def test_figures_are_those_of_the_line():
    figures = Stage("  forward", tuple(float(value) for value in range(101)), images=4).figures()
    assert figures == {"name": "forward", "milliseconds": [10.0, 50.0, 90.0], "images": 4, "images_per_second": 80.0}


@pytest.mark.parametrize("option", ["--json x.json", "--device gpu"])
def test_options_that_cannot_be_served_are_refused(option, root, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    what = "size" if "json" in option else "detect"
    assert cli.main(["benchmark", what, str(root / "configs/demo.yaml"), *option.split()]) == 2
    no_figures = "benchmark size has no figures to write; train, detect, eval and input have"
    line = no_figures if "json" in option else "TensorFlow finds no GPU here"
    assert line in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_peak_memory_is_that_of_this_process():
    assert 0.01 < peak_memory_gb() < 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "stages"),
    [
        (
            "train",
            [
                "training step, everything on",
                "pipeline alone, all cores",
                "targets on the device",
                "forward",
                "losses",
                "forward, losses, backward",
            ],
        ),
        ("detect", ["one image to boxes", "forward", "decode", "reading and resizing 640 x 480"]),
        ("eval", ["images to detections", "network and decoding alone", "COCO metrics"]),
    ],
)
def test_the_command_times_every_stage(narrow, tmp_path, capsys, what, stages):
    settings = tmp_path / "settings.yaml"
    settings.write_text("data: {image_size: [64, 64]}\nmodel: {neck_channels: [8, 8, 8]}\ntrain: {batch_size: 2}")
    options = ["--classes", "3", "--repeats", "1", "--device", "cpu", "--json", str(tmp_path / "out.json")]
    assert cli.main(["benchmark", what, str(settings), *options]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [re.split(r"\s{2,}", line.strip())[0] for line in lines[1:-2]] == stages
    assert re.fullmatch(r"peak memory of the process \d+\.\d\d GB", lines[-2])
    figures = json.loads((tmp_path / "out.json").read_text())
    assert [stage["name"] for stage in figures["stages"]] == stages
    assert (figures["what"], figures["batch_size"], figures["gpus"]) == (what, 2, [])
    assert [line.removeprefix("measuring: ") for line in captured.err.splitlines() if line.startswith("measuring: ")] == stages
