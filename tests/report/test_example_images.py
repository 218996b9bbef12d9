import base64
import io

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.report.example_images import CORRECT, SIDE, WRONG, best_and_worst, draw_image, score_images

A, B, C = [0, 0, 10, 10], [50, 50, 10, 10], [80, 0, 10, 10]


def _score(evaluated, objects, detections):
    (score,) = score_images(evaluated(objects, detections), score_threshold=0.3)
    return score


def test_scores_by_hand(evaluated):
    """3 objects, 3 detections, 1 correct: F1 2 / 6. The dog detected as a cat is confused, and neither missed nor background."""
    objects = [("cat", A), ("dog", B), ("cat", C)]
    score = _score(evaluated, objects, [("cat", A, 0.9), ("cat", B, 0.8), ("dog", [0, 80, 9, 9], 0.7), ("cat", C, 0.2)])
    assert (score.correct, score.confused, score.background, score.missed) == (1, 1, 1, 1)
    assert score.f1 == pytest.approx(2 / 6)


def test_images_without_objects_and_detections_have_no_score(evaluated):
    assert score_images(evaluated([], []), score_threshold=0.3) == []
    assert score_images(evaluated([], [("cat", A, 0.2)]), score_threshold=0.3) == []
    assert _score(evaluated, [], [("cat", A, 0.9)]).f1 == 0.0


def test_no_image_is_among_best_and_worst(evaluated):
    right = _score(evaluated, [("cat", A), ("cat", B)], [("cat", A, 0.9), ("cat", B, 0.9)])
    small = _score(evaluated, [("cat", A)], [("cat", A, 0.9)])
    half = _score(evaluated, [("cat", A), ("cat", B), ("cat", C)], [("cat", A, 0.9)])
    wrong = _score(evaluated, [("cat", A), ("cat", B)], [])
    bad = _score(evaluated, [("cat", A)], [])
    best, worst = best_and_worst([small, wrong, right, bad, half], 2)
    assert (best, worst) == ([right, small], [wrong, bad])
    assert best_and_worst([bad, half, wrong], 6) == ([half], [wrong, bad])
    assert best_and_worst([right], 6) == ([right], [])
    assert best_and_worst([bad], 6) == ([], [bad])
    assert best_and_worst([], 6) == ([], [])


def _decode(address):
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


def test_drawings_are_small_and_mark_mistakes(evaluated, tmp_path):
    Image.fromarray(np.zeros((600, 840, 3), np.uint8)).save(tmp_path / "a.png")
    score = _score(evaluated, [("cat", [100, 100, 200, 200]), ("dog", [500, 300, 200, 200])], [("cat", [100, 100, 200, 200], 0.9)])
    drawing = draw_image(score, str(tmp_path / "a.png"), ["cat", "dog"])
    truth, found = _decode(drawing.truth), _decode(drawing.detections)
    assert drawing.size == truth.shape[:2] == found.shape[:2] == (300, SIDE)
    # Left sides at half the size: x 50 and 250.
    for image, place, colour in ((truth, (100, 50), CORRECT), (truth, (200, 250), WRONG), (found, (100, 50), CORRECT)):
        assert np.abs(image[place] - colour).max() < 60
    assert found[200, 250].max() < 60
