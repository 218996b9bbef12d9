"""What TensorFlow's libraries print while they are loaded stays off the terminal, unless --debug asks for it."""

import os
import subprocess
import sys

import pytest

STAND_IN = "import os\nos.write(2, b'a line of a library\\n')\nVALUE = 1\n"
CODE = (
    "import sys; sys.path.insert(0, {folder!r}); from ttfnet_tf.cli import _quiet_tensorflow; _quiet_tensorflow({debug}); import tensorflow"
)


def _errors_of_import(tmp_path, debug, text=STAND_IN):
    (tmp_path / "tensorflow.py").write_text(text, encoding="utf-8")
    code = CODE.format(folder=str(tmp_path), debug=debug) + "; print(tensorflow.VALUE); import os; os.write(2, b'after\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env={**os.environ})
    return done.stdout, done.stderr


def test_what_libraries_print_is_hidden(tmp_path):
    assert _errors_of_import(tmp_path, False) == ("1\n", "after\n")


def test_debug_shows_it(tmp_path):
    assert _errors_of_import(tmp_path, True) == ("1\n", "a line of a library\nafter\n")


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_gpus_give_memory_as_it_is_needed_unless_the_user_says_otherwise(before, after):
    environment = {name: value for name, value in os.environ.items() if name != "TF_FORCE_GPU_ALLOW_GROWTH"}
    environment |= {"TF_FORCE_GPU_ALLOW_GROWTH": before} if before else {}
    code = "import ttfnet_tf, os, sys; assert 'tensorflow' not in sys.modules; print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200, env=environment)
    assert done.stdout.strip() == after


def test_it_is_asked_for_once():
    code = (
        "import sys; from ttfnet_tf.quiet_import import import_as_usual, import_quietly; before = len(sys.meta_path); import_quietly(); "
        "print(len(sys.meta_path) - before); import_as_usual(); import_as_usual(); print(len(sys.meta_path) - before); "
        "sys.modules['tensorflow'] = None; import_quietly(); print(len(sys.meta_path) - before)"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200, env=environment)
    assert done.stdout.split() == ["0", "-1", "-1"]  # the package has asked already


@pytest.mark.parametrize("statement", ["from ttfnet_tf import Detector", "from ttfnet_tf import build", "import ttfnet_tf, tensorflow"])
@pytest.mark.parametrize(("level", "seen"), [(None, ""), ("2", ""), ("0", "a line of a library\n")])
def test_the_python_interface_hides_it_too_unless_everything_is_asked_for(tmp_path, level, seen, statement):
    (tmp_path / "tensorflow.py").write_text(f"{STAND_IN}raise ImportError('enough')\n", encoding="utf-8")
    begin = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    code = f"{begin}\ntry:\n    {statement}\nexcept ImportError as error:\n    print(error)"
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env=environment, check=True)
    assert done.stdout == "enough\n"
    assert done.stderr == seen


def test_an_import_that_fails_says_why(tmp_path):
    _, errors = _errors_of_import(tmp_path, False, "import os\nos.write(2, b'a line')\nimport no_such_library\n")
    assert errors.strip().endswith("ModuleNotFoundError: No module named 'no_such_library'")
    assert "a line" not in errors.partition("Traceback")[0]
