"""The whole page: well-formed, in one file, and with the numbers of the run's files."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ttfnet_tf import cli
from ttfnet_tf.report.html_page import differing_settings

A, B = [10, 10, 20, 20], [40, 40, 20, 20]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Page(HTMLParser):
    """Checks while it parses: every element is closed, ids are unique, nothing is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.targets, self.rows, self.text, self.tags = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))
        assert {target for target in self.targets if target.startswith("#")} <= {f"#{name}" for name in self.ids}
        assert [target for target in self.targets if not target.startswith(("#", "data:"))] == []
        assert re.findall(r"@import|url\((?!#)[^)]*\)", text) == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.targets.append(value)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"script", "style"} & set(self.open):
            return
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()

    def row(self, name):
        """The cells of the first row that starts with `name`."""
        return next(row for row in self.rows if row and row[0] == name)

    def has(self, words):
        return words in " ".join(" ".join(self.text).split())


def _found(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": [float(v) for v in box], "score": score}


@pytest.fixture
def report(capsys):
    def run(*arguments, code=0):
        """(pages by file name, captured output)."""
        assert cli.main(["report", *map(str, arguments)]) == code
        captured = capsys.readouterr()
        file = captured.out.removeprefix("written: ").strip()
        return (_Page(Path(file).read_text(encoding="utf-8")) if file else None), captured

    return run


@pytest.fixture
def data(write_coco):
    """A cat and a dog in image 7, a cat in image 9."""
    return write_coco({7: (80, 100), 9: (80, 100)}, [(7, 3, A), (7, 8, B), (9, 3, B)], {3: "cat", 8: "dog"})


DETECTIONS = [_found(7, 3, A, 0.9), _found(7, 3, B, 0.8), _found(9, 3, B, 0.7)]


@pytest.fixture
def run_folder(make_run, data):
    annotations, images = data
    command = ["/home/me/tools/train.py", "configs/mine.yaml", "optim.lr=0.1"]
    return make_run(annotations=annotations, images=images, detections=DETECTIONS, command=command)


def test_the_page_of_a_run(report, run_folder):
    page, captured = report(run_folder)
    assert captured.out == f"written: {run_folder / 'report.html'}\n"
    # Cats: correct, wrong (on the dog), correct, of 2: (51 + 50 x 2/3) / 101. No dog is detected: AP (0.8350 + 0) / 2.
    assert page.row("AP")[1] == page.row("AP50")[1] == "41.7"
    assert page.row("APl")[1] == "–"
    assert page.row("cat")[1:4] == ["2", "83.5", "83.5"]
    assert page.row("cat")[8:] == ["3", "66.7", "100.0"]  # detections above .3, precision, recall
    assert page.row("dog")[1:3] == ["1", "0.0"]
    # Confusion: 2 cats as cats, the dog as a cat. Errors: fixed, the dog is found and cats have AP 1.
    assert [row for row in page.rows if row[:1] == ["dog"]][1][1:] == ["1", "0", "0", "1"]
    assert page.row("classification")[1:4] == ["58.3", "1", "1"]
    assert [row for row in page.rows if row[:1] == ["background"]][1][1:4] == ["0.0", "0", "0"]  # the first is in the matrix
    assert page.row("missed")[1:4] == ["0.0", "0", "–"]
    assert page.has("ttfnet train configs/mine.yaml optim.lr=0.1")
    assert page.has("at commit abc1234")
    assert page.has(f"ttfnet report {run_folder}")
    assert page.has("epoch 2, after 0 min")
    assert page.has("2 processors, no GPU; Linux")
    assert page.tags.count("img") == 4  # two images, each with ground truth and with detections
    assert {f"chart-{name}" for name in ("losses", "ap", "hours", "rate", "speed")} <= set(page.ids)


def test_time_follows_from_the_logged_speed(report, run_folder):
    """10 steps of 8 images at 8 per second and 10 at 4 per second: 10 + 20 s."""
    from ttfnet_tf.report.run_record import read_record

    record = read_record(run_folder)
    assert record.hours == pytest.approx(30 / 3600)
    assert record.hours_at([10, 15]) == pytest.approx([10 / 3600, 20 / 3600])
    assert record.speed == 6.0
    assert (record.epochs, record.is_finished, record.step) == ((2.0, 2), True, 20)


def test_logged_time_is_used(make_run):
    from ttfnet_tf.report.run_record import read_record

    lines = [
        {"step": step, "epoch": step / 10, "loss": 1.0, "lr": 0.1, "images_per_second": 8.0, "training_seconds": seconds}
        for step, seconds in ((10, 36.0), (20, 90.0))
    ]
    assert read_record(make_run(lines=lines)).hours_at([5, 10, 20]) == pytest.approx([0.005, 0.01, 0.025])


@pytest.mark.parametrize(("patience", "is_finished"), [(0, False), (1, True), (2, False)])
def test_a_run_that_stopped_early_is_finished(make_run, patience, is_finished):
    from ttfnet_tf.report.run_record import read_record

    figures = [{"step": 10 * n, "epoch": n, "AP": ap, "AP50": ap, "AP75": ap} for n, ap in ((1, 0.5), (2, 0.4))]
    lines = [{"step": 20, "epoch": 2.0, "loss": 4.0, "lr": 0.1, "images_per_second": 8.0}, *figures]
    record = read_record(make_run(lines=lines, train__epochs=3, train__patience=patience))
    assert (record.epochs[0], record.is_finished) == (2.0, is_finished)


def test_warnings_come_first(report, make_run, data):
    annotations, images = data
    lines = [
        {"step": 10, "epoch": 1.0, "loss": 4.0, "lr": 0.1, "images_per_second": 8.0},
        {"step": 10, "epoch": 1, "AP": 0.5, "AP50": 0.6, "AP75": 0.5},
        {"step": 15, "epoch": 1.5, "loss": 4.0, "lr": 0.1, "images_per_second": 8.0},
        {"step": 15, "epoch": 1.5, "AP": 0.4, "AP50": 0.6, "AP75": 0.5},
    ]
    (images / "9.png").unlink()
    page, _ = report(make_run(annotations=annotations, images=images, detections=DETECTIONS, lines=lines))
    text = " ".join(" ".join(page.text).split())
    assert "Training is not finished: 1.5 of 2 epochs." in text
    assert "AP decreased from 50.0 at epoch 1 to 40.0 at epoch 1.5" in text
    assert f"1 of 2 validation images cannot be opened, such as {images / '9.png'} (image id 9)" in text
    assert "2 of 2 classes have fewer than 20 objects, so their AP means little: cat 2, dog 1." in text
    assert "Training and validation use the same annotations" in text
    assert text.index("not finished") < text.index("Losses")
    assert page.tags.count("img") == 2


def test_without_annotations(report, make_run):
    page, _ = report(make_run())
    assert page.has("Validation data: data.val.annotations is not set")
    assert page.row("AP")[1] == "37.5"  # of metrics.jsonl
    assert page.row("cat") == ["cat", "35.0"]
    assert page.has("The annotations could not be read.")
    assert "img" not in page.tags


def test_stored_metrics_are_shown_without_annotations(report, run_folder, data):
    data[0].unlink()
    page, _ = report(run_folder)
    assert page.row("AP50")[1] == "41.7"
    assert page.has("cannot be read")


def test_one_class(report, make_run, write_coco):
    annotations, images = write_coco({7: (80, 100)}, [(7, 3, A)], {3: "cat"})
    page, _ = report(
        make_run(annotations=annotations, images=images, names=["cat"], ids=[3], detections=[_found(7, 3, A, 0.9)]), "--images", 1
    )
    assert page.has("1 class.")
    assert page.row("cat")[1:4] == ["1", "100.0", "100.0"]
    assert [row for row in page.rows if row[:1] == ["cat"]][1] == ["cat", "1", "0", "1"]
    assert page.has("--images 1")


def test_no_detection_at_all(report, make_run, data):
    annotations, images = data
    page, _ = report(make_run(annotations=annotations, images=images, detections=[]))
    assert page.row("AP")[1] == "0.0"
    assert page.row("missed")[1:4] == ["0.0", "3", "–"]
    assert page.row("cat")[8:] == ["0", "–", "0.0"]


@pytest.mark.slow
def test_eighty_classes(report, make_run, write_coco):
    rng = np.random.default_rng(1)
    names = [f"kind {number}" for number in range(80)]
    objects = [(1 + k // 8, 5 + k, [float(v) for v in (*rng.uniform(0, 60, 2), 20, 20)]) for k in range(80)]
    annotations, images = write_coco(dict.fromkeys(range(1, 11), (96, 96)), objects, dict(zip(range(5, 85), names)))
    detections = [_found(image, 5 + (k + (k % 3 == 0)) % 80, box, 0.9) for k, (image, _, box) in enumerate(objects)]
    folder = make_run(annotations=annotations, images=images, names=names, ids=list(range(5, 85)), detections=detections)
    page, _ = report(folder, "--images", 0)
    assert sum(name.startswith("precision-") and name.endswith("-figure_1") for name in page.ids) == 12
    assert page.has("Most confused classes")
    assert sum(len(row) == 82 for row in page.rows) == 0  # the matrix is no table
    assert any(name.startswith("confusion-") for name in page.ids)
    assert (folder / "report.html").stat().st_size < 1_500_000


def test_class_names_are_escaped(report, make_run, write_coco):
    name = '<b onclick="x">&'
    annotations, images = write_coco({7: (80, 100)}, [(7, 3, A)], {3: name})
    page, _ = report(make_run(annotations=annotations, images=images, names=[name], ids=[3], detections=[_found(7, 3, A, 0.9)]))
    assert page.row(name)[1] == "1"
    assert "b" not in page.tags[page.tags.index("section") :]


def test_stored_detections_for_other_annotations_are_not_used(report, run_folder, data, monkeypatch):
    """They are recognised by the metrics stored beside them."""
    from ttfnet_tf.errors import UserError
    from ttfnet_tf.report import contents

    content = json.loads(data[0].read_text())
    content["annotations"][0]["bbox"] = [60, 10, 20, 20]
    data[0].write_text(json.dumps(content))

    def evaluate_run(run, overrides, *, batch_size):
        raise UserError(f"{run}: holds no checkpoint")

    monkeypatch.setattr(contents, "evaluate_run", evaluate_run)
    page, _ = report(run_folder)
    assert page.has(f"Could not be evaluated: {run_folder}: holds no checkpoint.")
    assert page.row("AP")[1] == "37.5"  # as logged


def test_a_run_without_detections_is_evaluated_first(report, make_run, write_coco, squares, square_finder, monkeypatch):
    from PIL import Image

    from ttfnet_tf.config import load_config
    from ttfnet_tf.runs import checkpoint
    from ttfnet_tf.runs.run_folder import Labels

    annotations, images = write_coco({7: (64, 64)}, [(7, 3, [12, 8, 17, 17])], {3: "cat", 8: "dog"})
    Image.fromarray(squares((64, 64), {(4, 5): "red"})).save(images / "7.png")
    folder = make_run(annotations=annotations, images=images)
    labels = Labels(("cat", "dog"), (3, 8))

    def load_run(run, image_size=None):
        return checkpoint.LoadedRun(load_config(folder / "config.yaml"), labels, square_finder, 30, folder)

    monkeypatch.setattr(checkpoint, "load_run", load_run)
    page, _ = report(folder)
    assert (folder / "eval" / "30" / "detections.json").is_file()
    assert page.row("cat")[1:4] == ["1", "100.0", "100.0"]
    assert page.has("AP at step 30")


PUBLISHED = {
    "model__backbone": "resnet18",
    "optim__drop_epochs": [9.0, 11.0],
    "train__epochs": 12,
    "train__batch_size": 128,
    "data__image_size": [512, 512],
}


def test_the_published_result(report, make_run, data):
    annotations, images = data
    command = ["ttfnet", "train", "configs/ttfnet_r18_1x.yaml"]
    page, _ = report(make_run(annotations=annotations, images=images, detections=DETECTIONS, command=command, **PUBLISHED))
    assert page.row("AP")[1:4] == ["41.7", "25.9", "+15.8"]
    assert page.row("AR1")[2:4] == ["", ""]
    assert page.has("The published result is TTFNet-18_fast (paper, Table 6) on COCO val2017.")
    assert page.has("Not comparable: this run has 2 classes")


def test_published_results_need_the_same_settings_and_data(make_run):
    from ttfnet_tf.report.published_results import find_reference
    from ttfnet_tf.report.run_record import read_record

    names, ids = [f"kind {number}" for number in range(80)], list(range(80))
    command = ["ttfnet", "train", "configs/ttfnet_r18_1x.yaml"]
    same = read_record(make_run("same", names=names, ids=ids, command=command, **PUBLISHED))
    other = read_record(make_run("other", names=names, ids=ids, command=command, **{**PUBLISHED, "optim__lr": 0.1}))
    none = read_record(make_run("none", command=["ttfnet", "train", "mine.yaml"]))
    assert find_reference(same, 5000).is_comparable
    assert not find_reference(same, 72).is_comparable
    assert find_reference(other, 5000).differences == ("optim.lr=0.1",)
    assert find_reference(none, 5000) is None


def test_several_runs(report, make_run, run_folder, data, tmp_path):
    annotations, images = data
    second = make_run("other", annotations=annotations, images=images, optim__lr=0.5)
    page, _ = report(run_folder, second, "--out", tmp_path / "both.html")
    assert page.row("mine")[1:3] == ["41.7", "41.7"]
    assert page.row("other")[1:3] == ["37.5", "62.5"]
    assert page.row("optim.lr") == ["optim.lr", "0.016", "0.5"]
    assert page.row("classification")[1] == "58.3"
    assert page.row("dog") == ["dog", "0.0", "40.0"]
    assert page.has("other: There are no stored detections for these annotations; ttfnet evaluate writes them.")
    assert not page.has("train.epochs")
    assert {f"chart-{name}" for name in ("losses", "ap", "hours", "rate", "speed")} <= set(page.ids)


def test_runs_of_the_same_name_get_their_paths(report, make_run, tmp_path):
    first = make_run("a")
    (tmp_path / "inner").mkdir()
    second = first.rename(tmp_path / "inner" / "a")
    first = make_run("a")
    page, _ = report(first, second, "--out", tmp_path / "both.html")
    assert page.row(str(first))[1] == page.row(str(second))[1] == "37.5"
    assert page.has("All runs have the same settings.")


def test_differing_settings():
    assert differing_settings([{"a": 1, "b": 2, "c": [1]}, {"a": 1, "b": 3, "c": [1], "d": None}, {"a": 1, "b": 2, "c": [1]}]) == {
        "b": [2, 3, 2]
    }


MISTAKES = [
    (["{run}", "optim.lr=1"], "override 'optim.lr=1': evaluation takes data.* and decode.* keys"),
    (["{run}", "data.val.annotations=gone.json"], "gone.json: cannot be read"),
    (["{run}", "--score-threshold", "1"], "--score-threshold 1 must lie in 0..1, 1 excluded"),
    (["{run}", "--images", "-1"], "--images -1 must be 0 or more"),
    (["{run}", "--batch-size", "0"], "--batch-size 0 must be 1 or more"),
    (["data.val.annotations=x"], "name at least one RUN before the settings"),
    (["nowhere"], "nowhere: no such run or checkpoint"),
    (["{run}", "nowhere"], "nowhere: no such run or checkpoint"),
    (["{run}", "--out", "{run}/config.yaml/report.html"], "config.yaml/report.html: cannot be written"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
def test_wrong_arguments_are_reported_in_one_line(report, run_folder, arguments, expected):
    _, captured = report(*[argument.format(run=run_folder) for argument in arguments], code=2)
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("eval/20/detections.json", "[", "detections.json: is damaged; delete it, and it is written again"),
        ("eval/20/detections.json", '[{"image_id": 7}]', "detections.json: is damaged"),
        ("eval/20/metrics.json", "{}", "metrics.json: is damaged"),
        ("metrics.jsonl", "{\n", "metrics.jsonl: holds a line that training has not written"),
        ("checkpoints/best.json", "{}", "best.json: is damaged"),
        ("labels.json", "{}", "labels.json: is missing or broken"),
    ],
)
def test_damaged_files_are_reported_in_one_line(report, run_folder, file, content, expected):
    (run_folder / file).write_text(content)
    _, captured = report(run_folder, code=2)
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_folder_without_an_environment(report, run_folder):
    (run_folder / "environment.json").unlink()
    page, _ = report(run_folder)
    assert page.row("AP")[1] == "41.7"


def test_an_exported_model(report, run_folder, tmp_path):
    """Its evaluation is stored beside its versions; it has no curves."""
    from ttfnet_tf.config import load_config

    version = tmp_path / "models" / "squares" / "3"
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    card = {
        "name": "squares",
        "classes": [{"name": "cat", "category_id": 3}, {"name": "dog", "category_id": 8}],
        "image_size": [64, 64],
        "top_k": 100,
        "score_threshold": 0.01,
        "config": dataclasses.asdict(load_config(run_folder / "config.yaml")),
        "training": {"step": 20},
        "versions": {"training": {"tensorflow": "2.15.1"}},
        "commit": "abc1234",
    }
    (version / "assets" / "model_card.json").write_text(json.dumps(card))
    shutil.copytree(run_folder / "eval" / "20", version.parent / "eval" / "3")
    page, captured = report(version.parent)
    assert captured.out == f"written: {version.parent / 'eval' / '3' / 'report.html'}\n"
    assert page.has("squares (3)")
    assert page.has("exported model.")
    assert page.row("AP")[1] == "41.7"
    assert page.row("tensorflow") == ["tensorflow", "2.15.1"]
    assert not any(name.startswith("chart-") for name in page.ids)
    assert not page.has("not finished")


@pytest.mark.parametrize(("setting", "writes", "expected"), [("true", True, 1), ("true", False, 0), ("false", True, 0)])
def test_training_writes_the_report_if_the_setting_says_so(monkeypatch, capsys, write_yaml, setting, writes, expected):
    from ttfnet_tf.report import write_report
    from ttfnet_tf.training import run as train

    monkeypatch.setattr(train, "run_training", lambda config, work_dir, run_time: SimpleNamespace(finished=True, step=12, writes=writes))
    monkeypatch.setattr(write_report, "write_report", lambda runs: f"{runs[0]}/report.html")
    assert cli.main(["train", str(write_yaml("mine.yaml", f"train: {{report: {setting}}}"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "next: ttfnet report runs/mine" in lines[0]
    assert lines[1:] == ["written: runs/mine/report.html"] * expected


def test_the_document_explains_every_kind_of_error_as_the_page_does(root):
    from ttfnet_tf.report.error_types import KINDS

    page = (root / "docs" / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\w+) \| ((?:wrong|any other|object).*?) \| .* \|$", page, flags=re.MULTILINE) == list(KINDS.items())
