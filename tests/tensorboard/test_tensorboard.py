"""TensorBoard itself on a run that crashed and was resumed: every curve once, every page with something on it."""

import functools
import json

import numpy as np
import pytest
from integration_runs import checkpoint, metrics
from tensorboard_pages import BROWSER, PAGES, browse, screenshot, serve

from ttfnet_tf.config import load_config
from ttfnet_tf.data.shapes import draw_shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = """
data: {{image_size: [64, 64], train: {{annotations: {0}/annotations/train.json, images: {0}/train}},
       val: {{annotations: {0}/annotations/val.json, images: {0}/val}}}}
model: {{neck_channels: [8, 8, 8], shortcut: [1, 1, 1], heatmap_head: {{width: 8, depth: 1}}, box_head: {{width: 8, depth: 1}},
        frozen_stages: -1, zero_init_residual: false}}
optim: {{lr: 0.002, lr_batch_size: 4, warmup_steps: 4, drop_epochs: [2]}}
train: {{epochs: 3, batch_size: 4, log_every: 1, checkpoint_every: 2, summary_images: 2, profile_steps: [7, 8]}}
"""
ORANGE, BLUE = (255, 112, 67), (0, 119, 187)  # TensorBoard's colours of the first and second run
CRASH = 8  # step


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Work directory of a run of 9 steps that crashed behind step 8 and was resumed at its checkpoint of step 6; networks of width 8."""
    from ttfnet_tf import build
    from ttfnet_tf.training.recorder import RunRecorder
    from ttfnet_tf.training.run import run_training

    folder = tmp_path_factory.mktemp("tensorboard")
    draw_shapes(folder / "shapes", train=12, val=4, size=(64, 64), seed=3)
    (folder / "settings.yaml").write_text(SETTINGS.format(folder / "shapes"))
    config = load_config(folder / "settings.yaml")
    line = RunRecorder.line

    def log_and_crash(self, step, *others):
        line(self, step, *others)
        if step == CRASH:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_model", functools.partial(build.build_model, width=8))
        straight = run_training(config, folder / "straight")
        with pytest.MonkeyPatch.context() as crashing:
            crashing.setattr(RunRecorder, "line", log_and_crash)
            with pytest.raises(KeyboardInterrupt):
                run_training(config, folder / "run")
        resumed = run_training(config, folder / "run")
    assert (straight.step, resumed.step) == (9, 9)
    return folder / "run"


@pytest.fixture(scope="module")
def server(run):
    with serve(run) as server:
        yield server


def test_the_resumed_run_equals_one_that_never_stopped(run):
    straight = run.parent / "straight"
    assert metrics(run) == metrics(straight)
    expected, actual = checkpoint(straight), checkpoint(run)
    assert set(expected) == set(actual)
    assert [key for key in expected if not np.array_equal(expected[key], actual[key])] == []


def test_the_log_has_what_the_lines_have(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["training_seconds"] for line in lines]
    assert seconds == sorted(seconds)
    for line in lines:
        if "loss" in line:
            assert 0 < line["positives"] <= line["regression_samples"]
            assert 0 <= line["ambiguous"] < 1
            assert 0 <= line["data_wait"] <= 1


@pytest.mark.parametrize("fast", [True, False])
def test_every_value_is_there_once(run, fast):
    with serve(run, fast=fast) as server:
        tags = server.get("plugin/scalars/tags")
        assert {"loss/total", "lr", "grad_norm", "samples/ambiguous_pct", "speed/data_wait_pct", "memory/rss_mb"} <= set(tags["train"])
        assert {"coco/AP", "coco/ARs", "coco_class/circle"} <= set(tags["eval"])
        for folder, names in tags.items():
            for name in names:
                steps = [step for _, step, _ in server.get("plugin/scalars/scalars", run=folder, tag=name)]
                assert steps == sorted(set(steps)), f"{folder}: {name}"
                if folder in ("train", "eval"):
                    assert steps == {"train": list(range(1, 10)), "eval": [3, 6, 9]}[folder], name
        losses = [value for _, _, value in server.get("plugin/scalars/scalars", run="train", tag="loss/total")]
        assert np.isfinite(losses).all()


def test_pages_are_given_their_data(server):
    assert set(server.get("plugin/images/tags")["eval"]) >= {"worst/1"}
    assert len(server.get("plugin/images/tags")["eval"]) >= 2 + 2 + 1
    assert any(tag.startswith("AP50/") for tag in server.get("plugin/pr_curves/tags")["eval"])
    assert set(server.get("plugin/text/tags")["train"]) == {"command", "config", "environment"}
    titles = [category["title"] for category in server.get("plugin/custom_scalars/layout")["category"]]
    assert titles == ["How the run is doing", "Data", "Precision"]
    groups = server.post(
        "plugin/hparams/session_groups",
        {
            "experimentName": "",
            "colParams": [{"metric": {"group": "eval", "tag": "coco/AP"}, "order": "ORDER_DESC"}],
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "startIndex": 0,
            "sliceSize": 10,
        },
    )["sessionGroups"]
    assert [(group["name"], group["hparams"]["train.epochs"]) for group in groups] == [("run", 3)]
    (metric,) = [value for value in groups[0]["metricValues"] if value["name"] == {"group": "eval", "tag": "coco/AP"}]
    assert metric["trainingStep"] == 9


def test_the_profiler_has_left_a_trace(run):
    assert list((run / "train/plugins/profile").glob("*/*.xplane.pb"))


needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")


@needs_browser
def test_the_first_page_names_the_figures_of_coco(server):
    page = browse("--dump-dom", f"{server.address}/#timeseries")
    assert "coco/AP50" in page
    assert "coco_class" in page


# Page -> colour of its curves and frames, and the least number of such pixels right of the menu.
DRAWN = {"custom_scalars": (ORANGE, 300), "pr_curves": (BLUE, 100), "images": (BLUE, 100), "text": (ORANGE, 500)}


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_pages_show_what_they_were_given(server, tmp_path, page):
    image = np.asarray(screenshot(server, page, tmp_path / "page.png")).astype(int)[70:, 330:]
    assert (image.max(axis=2) < 110).sum() > 300  # text
    if page in DRAWN:
        colour, least = DRAWN[page]
        assert (np.abs(image - colour).max(axis=2) < 25).sum() > least
