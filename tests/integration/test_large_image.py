"""A large image with many small objects, in tiles. The full size is `python tests/large_image.py 9000 12000 2000`."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_what_the_tiles_find_is_kept_once(root):
    command = [sys.executable, str(root / "tests" / "large_image.py"), "3000", "4000", "800"]
    environment = {"PYTHONPATH": str(root), "PATH": ""}
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert found["tiles"] == 80
    assert found["tiles_recall"] > 0.95
    assert found["recall"] >= found["tiles_recall"] - 0.01
    assert found["detections"] <= 800 * 1.01
    assert found["wrong"] <= 8
    assert found["peak_gb"] < 0.5  # 36 MB of pixels, decoded twice for a moment
