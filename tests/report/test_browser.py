"""The page in a real browser, if there is one: it shows, and it fits the width of the window."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")]


@pytest.fixture
def page(make_run, write_coco):
    box = [10, 10, 20, 20]
    annotations, images = write_coco({7: (80, 100)}, [(7, 3, box)], {3: "cat", 8: "dog"})
    found = [{"image_id": 7, "category_id": 3, "bbox": box, "score": 0.9}]
    folder = make_run(annotations=annotations, images=images, detections=found)
    assert cli.main(["report", str(folder)]) == 0
    return folder / "report.html"


def _browse(tmp_path, *arguments):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=2000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [500, 1100])
def test_a_screenshot_shows_the_page(page, tmp_path, width):
    file = tmp_path / f"{width}.png"
    _browse(tmp_path, f"--screenshot={file}", f"--window-size={width},1600", page.as_uri())
    image = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert image.shape[:2] == (1600, width)
    # It has the blue of the first curve and the orange of the warnings' border; the right margin is empty.
    assert (np.abs(image - (47, 126, 216)).max(axis=2) < 12).sum() > 100
    assert (np.abs(image - (180, 83, 9)).max(axis=2) < 12).sum() > 100
    assert np.ptp(image[:, -6:], axis=(0, 1)).max() == 0


def test_the_browser_parses_the_whole_page(page, tmp_path):
    dumped = _browse(tmp_path, "--dump-dom", page.as_uri()).stdout
    assert dumped.count("<svg") == page.read_text(encoding="utf-8").count("<svg")
    assert dumped.rstrip().endswith("</html>")
    assert "Confusion" in dumped
