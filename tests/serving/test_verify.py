"""Served detections against local ones, by hand."""

from pathlib import Path

import numpy as np
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.serving.verify import compare, verify


def _found(boxes, scores, ids, size=(100, 200)):
    return Detections(np.float32(boxes).reshape(-1, 4), np.float32(scores), np.int32(ids), tuple(str(number) for number in ids), size)


LOCAL = _found([[10, 10, 50, 50], [0, 20, 100, 90]], [0.9, 0.5], [3, 8])


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (LOCAL, (0, 0, "")),
        # 0.01 of 200 pixels' width, and as much of 100 pixels' height.
        (_found([[10.01, 10, 50, 50], [0, 20, 100, 90]], [0.9, 0.5], [3, 8]), (5e-5, 0, "")),
        (_found([[10, 10.02, 50, 50], [0, 20, 100, 90]], [0.9, 0.5], [3, 8]), (2e-4, 0, "boxes differ by up to 0.0002 of the image")),
        (_found([[10, 10, 50, 50], [0, 20, 100, 90]], [0.9, 0.51], [3, 8]), (0, 0.01, "scores differ by up to 0.01")),
        (_found([[10, 10, 50, 50], [0, 20, 100, 90]], [0.9, 0.5], [3, 9]), (0, 0, "detection 2 is of class 8 locally and 9 served")),
        (_found(LOCAL.boxes[::-1], [0.9, 0.5], [8, 3]), (0.4, 0, "detection 1 is of class 3 locally and 8 served")),
        (_found(LOCAL.boxes[:1], [0.9], [3]), (0, 0, "2 detections locally, 1 served")),
        (_found([], [], []), (0, 0, "2 detections locally, 0 served")),
        (
            _found(LOCAL.boxes, LOCAL.scores, LOCAL.class_ids, (200, 100)),
            (0, 0, "the image has (100, 200) pixels locally and (200, 100) on the server"),
        ),
        (_found([[np.nan, 10, 50, 50], [0, 20, 100, 90]], [0.9, 0.5], [3, 8]), (np.nan, 0, "boxes differ by up to nan of the image")),
        (_found(LOCAL.boxes, [0.9, np.nan], [3, 8]), (0, np.nan, "scores differ by up to nan")),
    ],
)
def test_differences_of_one_image(served, expected):
    found = compare(LOCAL, served, score_threshold=0.3, tolerance=1e-4)
    np.testing.assert_allclose((found.box, found.score), expected[:2], rtol=1e-2, atol=1e-9)
    assert found.reason == expected[2]


def test_a_score_at_the_threshold_may_be_on_one_side_only():
    edge = _found([*LOCAL.boxes, [1, 2, 3, 4]], [0.9, 0.5, 0.30005], [3, 8, 3])
    for one, other in ((LOCAL, edge), (edge, LOCAL)):
        assert compare(one, other, score_threshold=0.3, tolerance=1e-4).reason == ""
        assert compare(one, other, score_threshold=0.3, tolerance=1e-5).reason.endswith("served")


def test_verification_counts_every_image():
    def detect(file):
        if file.name == "broken.png":
            raise UserError(f"{file}: is a damaged image")
        return LOCAL

    def verified(answered, failures=()):
        return verify(answered, failures, detect, score_threshold=0.3, tolerance=1e-4)

    good = verified([(Path("a.png"), LOCAL), (Path("b.png"), LOCAL)], [Failure("broken.png", "broken.png: refused")])
    assert good.passed
    assert good.line("runs/x") == (
        "verified against runs/x: 2 images, 4 detections, the same order and classes; "
        "largest difference of boxes 0 of the image, of scores 0"
    )
    moved = _found([[10, 10, 50, 60], [0, 20, 100, 90]], [0.9, 0.5], [3, 8])
    bad = verified([(Path("a.png"), moved), (Path("broken.png"), LOCAL)], [Failure("b.gif", "b.gif: refused")])
    assert not bad.passed
    assert bad.differing == [
        "a.png: boxes differ by up to 0.1 of the image",
        "broken.png: is a damaged image; the server reads it",
        "b.gif: read locally, not answered by the server",
    ]
    assert bad.line("runs/x").startswith("not verified against runs/x: 3 images differ (1 compared; largest difference of boxes 0.1 ")
    nothing = verified([], [Failure("broken.png", "")])
    assert not nothing.passed
    assert "no image could be compared" in nothing.line("runs/x")
