"""The continuous integration runs what a developer runs, on every Python that the package supports."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_supported_python_is_tested(setup):
    supported = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    assert supported
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python-version"] == supported


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    lines = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    lines += (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    called = [name for line in lines if line.startswith("make ") for name in line.partition("#")[0].split()[1:] if "=" not in name]
    assert {"lint", "test", "docs", "integration"} <= set(called)
    assert set(called) <= targets


def test_the_tools_of_the_hooks_are_pinned(setup):
    developers = setup["options.extras_require"]["dev"].split()
    hooks = [hook for repository in HOOKS for hook in repository["hooks"]]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks if hook["language"] == "system"}
    assert tools == {"ruff", "mypy"}
    assert {line.partition("==")[0] for line in developers if "==" in line} >= tools
    assert all("==" in package for hook in hooks for package in hook.get("additional_dependencies", []))
