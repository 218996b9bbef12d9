"""The command line: the message of each mistake, and the files of each verb."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference import predict_images
from ttfnet_tf.inference.drawings import DrawingRecord, outputs_in
from ttfnet_tf.inference.image_files import Sources, find_images
from ttfnet_tf.inference.predict_images import drawing_path, prepare_output


def _fails(capsys, *argv):
    """Runs a command that must end as a mistake of the user; returns its one line."""
    assert cli.main([str(argument) for argument in argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def run_dir(tmp_path):
    """A work directory with settings only, which is all that commands read before TensorFlow."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("data: {image_size: [64, 64]}")
    return folder


WRONG_ARGUMENTS = [
    (["trian"], "unknown verb 'trian'; did you mean ttfnet train?; see ttfnet --help"),
    (["check"], "unknown verb 'check'; did you mean ttfnet data check?; see ttfnet --help"),
    (["data", "predict"], "unknown verb 'predict'; did you mean ttfnet predict?; see ttfnet data --help"),
    (["data", "convrt"], "unknown verb 'convrt'; did you mean ttfnet data convert?; see ttfnet data --help"),
    (["help", "convrt"], "unknown verb 'convrt'; did you mean ttfnet data convert?; see ttfnet --help"),
    (["convert", "a.pth"], "there is no verb 'convert'; ttfnet weights converts weights, ttfnet data convert converts annotations"),
    (["help", "convert"], "there is no verb 'convert'; ttfnet weights converts weights, "),
    (["xyzzy"], "unknown verb 'xyzzy'; see ttfnet --help"),
    (["train"], "the following arguments are required: CONFIG; see ttfnet train --help"),
    (["train", "a.yaml", "--workdir", "x"], "unknown argument --workdir; did you mean --work-dir?; see ttfnet train --help"),
    (["train", "a.yaml", "--xyzzy"], "unknown argument --xyzzy; see ttfnet train --help"),
    (["train", "a.yaml", "--work-dir"], "--work-dir: expected one argument"),
    (["evaluate"], "required: RUN"),
    (["predict", "run", "a.jpg"], "required: --out"),
    (["data", "shapes", "a", "b"], "unknown argument b; see ttfnet data shapes --help"),
    (["predict", "run", "--out", "x"], "required: SOURCE"),
    (["predict", "run", "a.jpg", "--out", "x", "--batch-size", "two"], "invalid int value: 'two'"),
]


@pytest.mark.parametrize(("argv", "expected"), WRONG_ARGUMENTS)
def test_wrong_arguments(capsys, argv, expected):
    assert expected in _fails(capsys, *argv)


def test_wrong_settings_answer_before_tensorflow_starts(root, write_yaml):
    path = write_yaml("a.yaml", "optim: {lrr: 1}")
    code = f"import sys; from ttfnet_tf.cli import main; print(main(['train', {str(path)!r}]), 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "2 False\n"
    assert done.stderr == f"ttfnet: {path}: unknown key 'optim.lrr'; did you mean 'optim.lr'?\n"


def test_overrides_may_stand_before_and_after_options(capsys, write_yaml):
    path = write_yaml("a.yaml", "")
    for argv in (["train", path, "optim.lr=0", "--work-dir", "x"], ["train", path, "--work-dir", "x", "optim.lr=0"]):
        assert "optim.lr=0.0 must be above 0" in _fails(capsys, *argv)


def test_a_run_that_is_not_there(capsys, tmp_path):
    assert "nowhere: no such run or checkpoint" in _fails(capsys, "evaluate", tmp_path / "nowhere")
    assert "nowhere: no such run or checkpoint" in _fails(capsys, "predict", tmp_path / "nowhere", "a.jpg", "--out", "x")


def test_a_folder_that_is_no_run(capsys, tmp_path):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert "holds no config.yaml" in _fails(capsys, "evaluate", tmp_path / "a" / "b" / "c")


def test_a_run_with_broken_settings(capsys, run_dir):
    (run_dir / "config.yaml").write_text("optm: {}")
    assert "config.yaml: unknown key 'optm'" in _fails(capsys, "evaluate", run_dir)


@pytest.mark.parametrize("override", ["model.backbone=resnet34", "train.seed=3", "optim.lr=1", "top_k=3"])
def test_evaluation_leaves_the_trained_network_alone(capsys, run_dir, override):
    assert f"override '{override}': evaluation takes data.* and decode.* keys" in _fails(capsys, "evaluate", run_dir, override)


def test_evaluation_refuses_a_wrong_batch_size(capsys, run_dir):
    assert "--batch-size 0 must be 1 or more" in _fails(capsys, "evaluate", run_dir, "--batch-size", 0)


def test_evaluation_without_data(capsys, run_dir):
    (run_dir / "labels.json").write_text('{"class_names": ["cat"], "category_ids": [3]}')
    assert "data.val.annotations is not set" in _fails(capsys, "evaluate", run_dir)


def test_a_run_without_a_checkpoint(capsys, run_dir, write_coco):
    annotations, images = write_coco({7: (40, 60)}, [], {3: "cat"})
    (run_dir / "labels.json").write_text('{"class_names": ["cat"], "category_ids": [3]}')
    line = _fails(capsys, "evaluate", run_dir, f"data.val.annotations={annotations}", f"data.val.images={images}")
    assert f"{run_dir}: holds no checkpoint" in line


@pytest.mark.parametrize("value", ["-0.1", "1", "nan"])
def test_prediction_refuses_a_wrong_threshold(capsys, run_dir, value):
    line = _fails(capsys, "predict", run_dir, "a.jpg", "--out", "x", f"--score-threshold={value}")
    assert "must lie in 0..1, 1 excluded" in line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.json: is empty"), 2, "ttfnet: x.json: is empty"),
        (KeyboardInterrupt(), 130, "ttfnet: interrupted"),
        (MemoryError(), 2, "ttfnet: out of memory; lower train.batch_size (or --batch-size) or data.image_size, or free some memory"),
        (ValueError("two\nlines"), 1, "ttfnet: ValueError: two lines; this is a bug in ttfnet, --debug shows where"),
    ],
)
def test_exit_codes(monkeypatch, capsys, write_yaml, error, code, line):
    def load_config(*_):
        raise error

    monkeypatch.setattr(cli.train, "load_config", load_config)
    assert cli.main(["train", "a.yaml"]) == code
    assert capsys.readouterr().err.splitlines() == [line]


def test_debug_shows_the_trace(capsys, tmp_path):
    assert cli.main(["train", str(tmp_path / "gone.yaml"), "--debug"]) == 2
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert error.splitlines()[-1].startswith("ttfnet: ")


def test_train_names_the_run_after_its_config(monkeypatch, capsys, write_yaml, tmp_path):
    from ttfnet_tf.training import run as train

    calls = []

    def run_training(config, work_dir, run_time):
        calls.append((config.train.seed, str(work_dir)))
        return SimpleNamespace(finished=len(calls) == 1, step=12)

    monkeypatch.setattr(train, "run_training", run_training)
    path = str(write_yaml("mine.yaml", ""))
    assert cli.main(["train", path, "train.seed=5"]) == 0
    assert cli.main(["train", path, "--work-dir", str(tmp_path / "x")]) == 0
    assert calls == [(5, "runs/mine"), (0, str(tmp_path / "x"))]
    first, second = capsys.readouterr().out.splitlines()
    assert "runs/mine: done, 12 steps" in first
    assert "stopped and saved at step 12; the same command resumes it" in second


@pytest.mark.parametrize(
    "tool", ["train", *(pytest.param(tool, marks=pytest.mark.slow) for tool in ("evaluate", "report", "predict", "data"))]
)
def test_tools_start_from_the_clone_in_any_folder(root, tool, tmp_path):
    command = [sys.executable, root / "tools" / f"{tool}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage" in done.stdout


# Sources of a prediction.


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "inner/c.jpg", "inner/b.jpg"):
        Image.new("RGB", (64, 64)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def _names(found, folder):
    return [str(path.relative_to(folder)) for path in found]


def test_sources_are_files_folders_and_patterns_each_image_once(photos):
    assert _names(find_images([str(photos)]).images, photos) == ["a.PNG", "b.jpg"]
    assert _names(find_images([str(photos / "inner" / "b.jpg"), f"{photos}/**/*.jpg"]).images, photos) == [
        "inner/b.jpg",
        "b.jpg",
        "inner/c.jpg",
    ]
    assert find_images([str(photos), str(photos / "b.jpg")]).failures == []


def test_a_file_may_have_any_name_and_brackets_in_it(photos):
    odd = photos / "x[1].data"
    odd.write_bytes((photos / "b.jpg").read_bytes())
    assert find_images([str(odd)]) == Sources(images=[odd])


def test_sources_without_an_image_are_reported(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    found = find_images([str(tmp_path / "empty"), str(tmp_path / "gone.jpg"), f"{photos}/*.bmp"])
    assert found.images == []
    assert [failure.reason.split(": ", 1)[1].split(" (")[0] for failure in found.failures] == [
        "no image in this folder",
        "no such file",
        "no image matches",
    ]


def test_the_content_of_a_file_decides_whether_a_folder_gives_it(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image = (photos / "b.jpg").read_bytes()
    taken = {"c.jfif": image, "no_suffix": image, "as.txt": image, "broken.jpg": b"", "text.png": b"text"}
    for kind in ("PPM", "TGA", "GIF", "TIFF", "WEBP", "BMP"):
        Image.new("RGB", (64, 64)).save(photos / f"{kind}.data", kind)
        taken[f"{kind}.data"] = None
    heic = b"\0\0\0\x18ftypheic" + bytes(500)
    others = {
        "d.heic": heic,
        "e.HEIC": heic,
        "f.jp2": b"\0\0\0\x0cjP  \r\n" + bytes(500),
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
        "._b.jpg": b"\0\5\x16\7",
    }
    others |= {"g.mp4": b"\0\0\0\x18ftypisom" + bytes(500), "h": b"text"}
    for name, content in (taken | others).items():
        if content is not None:
            (photos / name).write_bytes(content)
    found = find_images([str(photos)])
    assert _names(found.images, photos) == sorted(["a.PNG", "b.jpg", *taken])
    skipped = [
        *("1 .db file (Thumbs.db)", "1 .txt file (notes.txt)", "2 HEIC images (d.heic, e.HEIC)", "1 JPEG 2000 image (f.jp2)"),
        *("1 hidden file (._b.jpg)", "1 other file (h)", "1 video (g.mp4)"),
    ]
    note = f"{photos}: skipped {', '.join(skipped)}; pip install 'ttfnet-tf[heic]' reads HEIC images"
    assert found == Sources(images=found.images, notes=[note])


def test_of_many_skipped_files_three_are_named(photos):
    for number in range(9):
        (photos / f"{number}.log").write_text("text")
    assert find_images([str(photos)]).notes == [f"{photos}: skipped 9 .log files (0.log, 1.log, 2.log, ...), 1 .txt file (notes.txt)"]


def test_a_folder_or_pattern_of_videos(photos):
    for name, content in {"z.m4v": b"\0\0\0\x18ftypM4V ", "y.data": b"\0\0\1\xba", "x.ts": (b"G" + bytes(187)) * 4}.items():
        (photos / "inner" / name).write_bytes(content)
    found = find_images([f"{photos}/inner/[xyz]*", f"{photos}/inner/*.jpg"])
    assert _names(found.videos, photos / "inner") == ["x.ts", "y.data", "z.m4v"]
    assert len(found.images) == 2
    assert found.failures == found.notes == []


@pytest.mark.parametrize("source", ["data.image_size=[256,256]", "decode.score_threshold=.5"])
def test_a_setting_is_no_source(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find_images([source])
    assert str(caught.value) == f"{source}: no such file, and settings are not taken here; name images or videos"
    Image.new("RGB", (64, 64)).save(tmp_path / source, "PNG")
    assert find_images([source]).images == [Path(source)]


def test_a_pipe_in_a_folder_is_not_waited_for(photos):
    os.mkfifo(photos / "pipe.fifo")
    assert _names(find_images([str(photos)]).images, photos) == ["a.PNG", "b.jpg"]


def test_drawings_keep_the_name_or_get_a_number(tmp_path):
    taken = {tmp_path / "a.jpg", tmp_path / "a_2.jpg"}
    assert drawing_path(tmp_path / "in" / "a.jpg", tmp_path, taken.__contains__) == tmp_path / "a_3.jpg"
    assert drawing_path(tmp_path / "in" / "b.JPG", tmp_path, taken.__contains__) == tmp_path / "b.JPG"
    assert drawing_path(tmp_path / "in" / "c.gif", tmp_path, taken.__contains__) == tmp_path / "c.png"


def test_a_foreign_detections_file_is_not_overwritten(tmp_path):
    (tmp_path / "detections.json").write_text("[]")
    with pytest.raises(UserError, match="was not written by predict"):
        prepare_output(tmp_path)


# `ttfnet predict` end to end, on a network whose detections are known by hand.


@pytest.fixture
def predict(monkeypatch, capsys, run_dir, square_finder):
    from ttfnet_tf.inference.detector import Detector
    from ttfnet_tf.methods.ttfnet import decode_distances

    decoded = functools.partial(decode_distances, image_size=(64, 64))

    def load(run, **thresholds):
        return Detector(square_finder, ["cat", "dog"], [3, 8], decoded, image_size=(64, 64), **thresholds)

    monkeypatch.setattr(Detector, "load", load)

    def run(*sources, out, code=0):
        assert cli.main(["predict", str(run_dir), *map(str, sources), "--out", str(out), "--batch-size", "2"]) == code
        captured = capsys.readouterr()
        record = out / "detections.json"
        return (json.loads(record.read_text()) if record.exists() else None), captured

    return run


@pytest.fixture
def cells(tmp_path, squares):
    folder = tmp_path / "cells"
    folder.mkdir()
    Image.fromarray(squares((64, 64), {(4, 5): "red"})).save(folder / "one.png")
    Image.fromarray(squares((64, 64), {(4, 5): "red", (9, 9): "green"}, (2, 3))).save(folder / "two.png")
    Image.fromarray(squares((64, 64), {})).save(folder / "none.png")
    return folder


def test_drawings_are_never_detected_on(predict, cells, tmp_path):
    """Not those in the folder of the images, of any call, nor where a shell has named them."""
    for _ in range(3):
        record, captured = predict(cells, out=cells)
        assert [Path(image["file"]).name for image in record["images"]] == ["none.png", "one.png", "two.png"]
        assert [image["drawing"] for image in record["images"]] == ["none_2.png", "one_2.png", "two_2.png"]
    assert f"{cells}: skipped 1 .json file (detections.json), 3 drawings (none_2.png, one_2.png, two_2.png)" in captured.err
    record, captured = predict(*sorted(cells.glob("*.png")), out=tmp_path / "elsewhere")
    assert len(record["images"]) == 3
    assert f"skipped 3 drawings that predict has written, such as {cells}/none_2.png" in captured.err
    _, captured = predict(cells / "one_2.png", out=tmp_path / "nothing", code=2)
    assert "one_2.png: is a drawing that predict has written" in captured.err
    record, _ = predict(cells / "one.png", out=cells)  # the others are those of earlier calls
    assert record["earlier_drawings"] == ["none_2.png", "two_2.png"]
    assert len(find_images([str(cells)]).images) == 3


@pytest.mark.parametrize("moment", ["first", "second", "third"])
def test_a_killed_call_is_repeated_by_the_same_command(predict, cells, tmp_path, monkeypatch, moment):
    """Killed before the drawing of that image is written: what was done is on record, and no drawing gets another name."""
    seen = []

    def killed(*_):
        seen.append(None)
        if len(seen) == ["first", "second", "third"].index(moment) + 1:
            raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(predict_images, "save_drawing", killed)
        patch.setattr(DrawingRecord, "finish", lambda *_: None)  # as a kill has it
        with pytest.raises(SystemExit):
            predict(cells, out=cells)
    record = json.loads((cells / "detections.json").read_text())
    assert (record["unfinished"], len(record["images"])) == (True, len(seen) if moment == "first" else 1)
    assert len((cells / ".drawings.jsonl").read_text().splitlines()) == len(seen)
    record, _ = predict(cells, out=cells)
    assert [image["drawing"] for image in record["images"]] == ["none_2.png", "one_2.png", "two_2.png"]
    names = sorted(path.name for path in cells.iterdir())
    assert names == ["detections.json", *(f"{name}{end}" for name in ("none", "one", "two") for end in (".png", "_2.png"))]


def test_the_record_grows_while_a_call_runs(tmp_path, monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr("ttfnet_tf.inference.drawings.time.monotonic", lambda: float(next(now)))
    record = DrawingRecord(tmp_path, ["old.png"], {"run": "r"})
    for number in range(30):
        record.add({"drawing": f"{number}.png", "detections": []}, [])
        assert f"{number}.png" in outputs_in(tmp_path)
    # Each writing takes a second of this clock, so that the next comes when 20 more have passed.
    assert len(json.loads((tmp_path / "detections.json").read_text())["images"]) == 21
    (tmp_path / "old.png").touch()
    record.finish([])
    assert json.loads((tmp_path / "detections.json").read_text())["earlier_drawings"] == ["old.png"]
    assert outputs_in(tmp_path) == {"old.png", *(f"{number}.png" for number in range(30))}


def test_predict_writes_drawings_and_one_json(predict, cells, tmp_path):
    record, captured = predict(cells, out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["detections.json", "none.png", "one.png", "two.png"]
    none, one, two = record["images"]
    assert (one["file"], one["drawing"], one["height"], one["width"]) == (str(cells / "one.png"), "one.png", 64, 64)
    assert one["detections"] == [{"box": [12.0, 8.0, 28.0, 24.0], "score": pytest.approx(0.9999546), "class_id": 3, "class_name": "cat"}]
    assert sorted(found["class_name"] for found in two["detections"]) == ["cat", "dog"]
    assert (none["detections"], record["failed"], record["score_threshold"]) == ([], [], 0.3)
    assert "3 images, 3 detections, 0 failed" in captured.out
    assert np.asarray(Image.open(tmp_path / "out" / "two.png")).shape == (128, 192, 3)
    assert np.any(np.asarray(Image.open(tmp_path / "out" / "one.png")) != np.asarray(Image.open(cells / "one.png")))


def test_missing_and_broken_images_are_reported_and_skipped(predict, cells, tmp_path):
    (cells / "broken.jpg").write_bytes(b"no image")
    record, captured = predict(cells, tmp_path / "gone.jpg", out=tmp_path / "out")
    assert [image["drawing"] for image in record["images"]] == ["none.png", "one.png", "two.png"]
    assert [failure["source"] for failure in record["failed"]] == [str(tmp_path / "gone.jpg"), str(cells / "broken.jpg")]
    assert "3 images, 3 detections, 2 failed" in captured.out
    assert sum("gone.jpg: no such file" in line for line in captured.err.splitlines()) == 1
    assert sum("broken.jpg" in line for line in captured.err.splitlines()) == 1


def test_nothing_readable_is_an_error(predict, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"")
    _, captured = predict(tmp_path / "broken.jpg", out=tmp_path / "out", code=2)
    assert captured.err.splitlines()[-1] == "ttfnet: none of the images could be read"
    _, captured = predict(tmp_path / "gone.jpg", tmp_path / "gone.png", out=tmp_path / "out2", code=2)
    assert captured.err.splitlines() == [
        f"ttfnet: {tmp_path}/gone.jpg: no such file, and nothing in 1 more; name an image, a folder of images or a quoted pattern"
    ]
    assert not (tmp_path / "out2").exists()


def test_neither_sources_nor_drawings_of_the_same_name_are_overwritten(predict, cells, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "one.png").write_bytes((cells / "two.png").read_bytes())
    before = {path: path.read_bytes() for path in [*cells.iterdir(), *other.iterdir()]}
    for _ in range(2):  # the second time its own drawings are overwritten, each by its own image
        record, _ = predict(cells / "one.png", other / "one.png", out=cells)
        assert [image["drawing"] for image in record["images"]] == ["one_2.png", "one_3.png"]
        assert np.asarray(Image.open(cells / "one_2.png")).shape != np.asarray(Image.open(cells / "one_3.png")).shape
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_second_prediction_overwrites_only_its_own_drawings(predict, cells, tmp_path):
    out = tmp_path / "out"
    predict(cells, out=out)
    (out / "mine.txt").write_text("kept")
    record, _ = predict(cells, out=out)
    assert [image["drawing"] for image in record["images"]] == ["none.png", "one.png", "two.png"]
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "mine.txt", "none.png", "one.png", "two.png"]


def test_an_output_folder_that_cannot_be_made(predict, cells, tmp_path):
    (tmp_path / "file").write_text("")
    _, captured = predict(cells, out=tmp_path / "file" / "out", code=2)
    assert "cannot be made" in captured.err
    assert "name another folder with --out" in captured.err
