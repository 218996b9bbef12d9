"""Which images to label next: scores by hand, copies left out, and the command on a detector with known detections."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.inference import detector
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.next_images import Candidate, choose, uncertainty


def candidates(**scores):
    return [Candidate(name, score, 1, 8, 8) for name, score in scores.items()]


def test_uncertainty():
    assert uncertainty([]) == 0
    assert uncertainty([0.5]) == 1
    assert uncertainty([0.9, 0.1, 0.75]) == pytest.approx(0.2 + 0.2 + 0.5)
    assert uncertainty(np.array([1, 0], np.float32)) == 0


def test_the_order_is_descending_score_then_name():
    assert [one.file for one in choose(candidates(c=1, b=2, a=1, d=0), [], 3)] == ["b", "a", "c"]


def test_of_copies_only_the_first_is_chosen():
    images = candidates(a=1, b=2, c=3, d=0)
    assert [one.file for one in choose(images, [(0, 2)], 4)] == ["c", "b", "d"]
    assert [one.file for one in choose(images, [(1, 2), (0, 1)], 4)] == ["c", "a", "d"]  # a is like b alone, which is not taken
    assert [one.file for one in choose(images, [(0, 1), (2, 3), (1, 2)], 1)] == ["c"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """run/ and images/: the mean brightness of an image says how many detections of score .5 its stub detector gives, and one of .9."""
    (tmp_path / "images").mkdir()
    for number in (1, 3, 2):
        pixels = np.random.default_rng(number).normal(40 * number, 8, (16, 16)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(tmp_path / f"images/{number}.png")
        if number == 3:
            Image.fromarray(pixels).resize((64, 64)).save(tmp_path / "images/copy.png", compress_level=0)
    (tmp_path / "images/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("")
    (tmp_path / "run/labels.json").write_text(json.dumps({"class_names": ["a"], "category_ids": [1]}))

    class Stub:
        @staticmethod
        def load(run, score_threshold):
            assert score_threshold == 0.1
            return Stub()

        def batch(self, images, *, batch_size):
            assert len(images) <= batch_size
            return [self.one(image) for image in images]

        def one(self, image):
            count = round(image.mean() / 40) + 1
            scores = np.array([0.9] + [0.5] * (count - 1), np.float32)
            return Detections(np.zeros((count, 4), np.float32), scores, np.ones(count, np.int32), ("a",) * count, image.shape[:2])

    monkeypatch.setattr(detector, "Detector", Stub)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_a_table(folder, capsys):
    assert cli.main(["data", "next", "run", "images", "--out", "next.csv", "--batch-size", "2"]) == 0
    said = capsys.readouterr()
    assert "images/broken.png" in said.err
    assert "written: next.csv: 3 of 4 images, scores 3.200 to 1.200" in said.out
    rows = list(csv.reader((folder / "next.csv").read_text().splitlines()))
    assert rows == [
        ["rank", "file", "score", "detections", "width", "height"],
        ["1", "images/3.png", "3.2000", "4", "64", "64"],
        ["2", "images/2.png", "2.2000", "3", "64", "64"],
        ["3", "images/1.png", "1.2000", "2", "64", "64"],
    ]
    assert cli.main(["data", "next", "run", "images", "--out", "next.csv", "--count", "1"]) == 0  # its own file is replaced
    assert len((folder / "next.csv").read_text().splitlines()) == 2


def test_the_command_writes_json_and_prints(folder, capsys):
    assert cli.main(["data", "next", "run", "images", "--out", "next.json", "--count", "1"]) == 0
    content = json.loads((folder / "next.json").read_text())
    assert content == {
        **{"written_by": "ttfnet data next", "run": "run", "score_threshold": 0.1},
        "images": [{"rank": 1, "file": "images/3.png", "score": pytest.approx(3.2), "detections": 4, "width": 64, "height": 64}],
    }
    capsys.readouterr()
    assert cli.main(["data", "next", "run", "images"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "   3.200  images/3.png"


def test_a_detector_without_detections_is_named(folder, capsys, monkeypatch):
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), (), (64, 64))
    monkeypatch.setattr(detector.Detector, "one", lambda self, image: nothing)
    assert cli.main(["data", "next", "run", "images", "--out", "next.csv"]) == 0
    assert "no image has a detection above 0.1, so that the order says nothing" in capsys.readouterr().err
