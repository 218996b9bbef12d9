"""Keeps off the terminal what TensorFlow's libraries print while they are loaded; from 2.18 on no setting of TensorFlow does."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec


def import_quietly() -> None:
    """Makes the first import of TensorFlow in this process quiet. What goes wrong still arrives as an exception."""
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _QuietImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietImport())


def import_as_usual() -> None:
    """Takes back `import_quietly`."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _QuietImport)]


def wants_everything() -> bool:
    """Whether somebody asked to see all that TensorFlow prints: --debug, or the variable that it sets."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"


class _QuietImport(MetaPathFinder):
    """First in `sys.meta_path`, it wraps the next import of TensorFlow."""

    def find_spec(self, fullname, path, target=None) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(_quietly, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _quietly(execute, module):
    with without_stderr():
        execute(module)


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Sends what the process writes to standard error nowhere, past Python too."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
