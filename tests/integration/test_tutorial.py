"""Every command of the tutorial, in an empty folder; and the cells of its notebook."""

import json
import os
import re
import runpy
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_a_notebook_has_a_cell_for_every_block_and_text(root):
    notebook = runpy.run_path(str(root / "docs" / "notebook.py"))["notebook"]
    cells = notebook("# Title\n\n```bash\na\nb\n```\n\nWords.\n\n```python\nc\n```\n```yaml\nd: 1\n```\n")["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells[1:]] == [
        ("markdown", "# Title"),
        ("code", "%%bash\na\nb"),
        ("markdown", "Words."),
        ("code", "c"),
        ("markdown", "```yaml\nd: 1\n```"),
    ]


def _box(annotation):
    return (annotation["image_id"], annotation["category_id"], *annotation["bbox"])


@pytest.mark.slow
@pytest.mark.timeout(3600)  # some ten minutes on two free cores
def test_every_command_of_the_tutorial(root, page, tmp_path):
    (tmp_path / "bin").mkdir()
    ttfnet = tmp_path / "bin" / "ttfnet"
    ttfnet.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ttfnet_tf "$@"\n', encoding="utf-8")
    ttfnet.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": str(root)}
    said = []
    for language, code in re.findall(r"^```(bash|python)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        said.append(done.stdout)
    folder = tmp_path / "tutorial"
    drawn, converted = (json.loads((folder / name / "annotations/train.json").read_text()) for name in ("drawn", "data"))
    assert [_box(one) for one in converted["annotations"]] == [
        _box(one) for one in drawn["annotations"]
    ]  # so the figures are those of make demo
    measured = json.loads(next(folder.glob("run/eval/*/metrics.json")).read_text())["metrics"]
    assert measured["AP50"] > 0.8  # the page says what it is on its machine
    exported = json.loads((folder / "models" / "mine" / "eval" / "1" / "metrics.json").read_text())["metrics"]
    assert exported == pytest.approx(measured, abs=0.002)
    assert (folder / "models" / "mine" / "model_fp32.tflite").is_file()
    assert len(list((folder / "drawings").glob("*.png"))) == 40
    assert len(list((folder / "targets").glob("*.png"))) == 2
    assert (folder / "run" / "report.html").is_file()
    assert re.search(r"^(circle|square|triangle|cross) +0\.\d\d \[\d+, \d+, \d+, \d+\]$", "\n".join(said), flags=re.MULTILINE)
