"""Rooms stay short: a function has at most 60 lines beside its docstring, a file at most 350 unless its top says why it is longer."""

import ast

import pytest

LINES_OF_FUNCTION, LINES_OF_FILE = 60, 350


@pytest.fixture(scope="module")
def files(root):
    """path -> text of every Python file of the package and the scripts."""
    found = [*(root / "ttfnet_tf").rglob("*.py"), *(root / "tools").rglob("*.py")]
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in found}


def long_functions(text):
    """Names of the functions above the limit, with their lines; without docstrings; an inner function also counts for its outer one."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            is_docstring = ast.get_docstring(node, clean=False) is not None
            lines = node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if is_docstring else 0)
            if lines > LINES_OF_FUNCTION:
                found[node.name] = lines
    return found


def says_why(text):
    """Whether the docstring at the top of a file speaks of its length."""
    return "longer than other" in " ".join((ast.get_docstring(ast.parse(text)) or "").split())


def test_functions(files):
    found = {f"{path}: {name}": lines for path, text in files.items() for name, lines in long_functions(text).items()}
    assert found == {}


def test_files(files):
    assert len(files) > 300
    long = {path: text for path, text in files.items() if text.count("\n") > LINES_OF_FILE}
    assert [path for path, text in long.items() if not says_why(text)] == []


def test_the_counts_see_what_is_long():
    body = "\n".join(f"    a{k} = {k}" for k in range(LINES_OF_FUNCTION - 1))
    assert long_functions(f'def short():\n    """Two\n\n    lines."""\n{body}\n') == {}
    assert long_functions(f"def long():\n{body}\n    b = 1\n") == {"long": LINES_OF_FUNCTION + 1}
    assert not says_why('"""A file."""')
