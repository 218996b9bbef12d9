"""The wheel: what is in it, and the demo from it in an empty folder, far from the clone."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.slow

SOURCES = (
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "requirements-tensorflow-2.21.txt",
)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Built from the source archive, as `make wheel` does."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for name in ("ttfnet_tf", "configs"):
        shutil.copytree(root / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*SOURCES, "requirements-tensorflow-2.21.txt"):
        shutil.copy(root / name, sources)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(sources)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(list((folder / "dist").glob("ttfnet?tf-*.tar.gz"))) == 1
    [path] = (folder / "dist").glob("ttfnet_tf-*-py3-none-any.whl")
    return path


def test_it_holds_the_package_and_the_recipes_and_nothing_else(root, wheel):
    with zipfile.ZipFile(wheel) as file:
        content = {name: file.read(name) for name in file.namelist()}
    package = {path.relative_to(root).as_posix() for path in (root / "ttfnet_tf").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    recipes = {path.relative_to(root).as_posix() for path in (root / "configs").rglob("*.yaml")}
    inside = {name for name in content if ".dist-info/" not in name}
    assert len(recipes) > 20
    assert inside == package | {f"ttfnet_tf/{name}" for name in recipes}
    for name in recipes:
        assert content[f"ttfnet_tf/{name}"] == (root / name).read_bytes()


@pytest.mark.timeout(1800)
def test_the_demo_runs_from_it_without_the_clone(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    here = tmp_path / "empty"
    here.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    ttfnet = [sys.executable, "-m", "ttfnet_tf"]
    where = [sys.executable, "-c", "import ttfnet_tf; print(ttfnet_tf.__file__)"]
    for command in (where, [*ttfnet, "reproduce", "table4", "--list"], [*ttfnet, "demo", "--quick"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here, env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        if command is where:
            assert done.stdout.startswith(str(tmp_path / "installed"))
    demo = here / "demo-quick"
    assert done.stdout.splitlines()[-1].startswith("Look at demo-quick/run/report.html")
    assert (demo / "run" / "report.html").is_file()
    assert len(list((demo / "drawings").glob("*.png"))) == 40
    assert (demo / "models" / "shapes" / "1" / "saved_model.pb").is_file()
    assert json.loads((demo / "drawings" / "detections.json").read_text())["images"]
