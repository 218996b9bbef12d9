"""JSON of files that are not trusted, and JSON that every reader takes."""

import ast
import json
import math
import sys
from pathlib import Path

import pytest

from ttfnet_tf.json_text import DEEPEST, NotJson, is_integer, is_number, json_text, parse_json, short_json, with_text

PACKAGE = Path(__file__).resolve().parents[1] / "ttfnet_tf"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not JSON (Expecting value at line 1)"),
        (b"[1,\n2", "is not JSON (Expecting ',' delimiter at line 2)"),
        (b"\xff\xd8\xff\xe0", "is not UTF-8 text"),
        (b'"\xed\xa0\x80"', "is not UTF-8 text"),  # half a character as three bytes
        (b'{"a":\n"x\\ud800"}', "has half a character (\\ud800 at line 2)"),
        (b'"\\udc00\\ud800"', "has half a character (\\udc00 at line 1)"),
        (b"1" * 5000, "has a number of thousands of digits"),
        (b"-" + b"1" * 5000, "has a number of thousands of digits"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "is nested too deep"),
        (b"[" * 500 + b"]" * 500, "is nested too deep"),
        (b'{"a":[1,' * 60 + b"1" + b"]}" * 60, "is nested too deep"),
        (b"[" * 1_000_000, "is nested too deep"),
    ],
    ids=range(12),
)
def test_what_is_refused(data, reason):
    with pytest.raises(NotJson) as caught:
        parse_json(data)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('{"a": "ü"}'.encode("utf-16"), {"a": "ü"}),
        (b'"\\ud83d\\ude00 \\\\ud800"', "\U0001f600 \\ud800"),
        (b"[" * DEEPEST + b"]" * DEEPEST, None),
        ('["ü", true, 1e999]', ["ü", True, math.inf]),
    ],
    ids=["mark", "UTF-16", "pairs", "deep", "text"],
)
def test_what_is_read(data, content):
    found = parse_json(data)
    assert content is None or found == content


def test_numbers_are_neither_texts_nor_flags_nor_beyond_floats():
    wrong = ["3", True, None, math.nan, math.inf, 10**400, 2**53, [1], {}]
    assert [value for value in wrong if is_number(value) or is_integer(value)] == []
    assert [value for value in (3, -3, 0, 2**53 - 1) if not (is_number(value) and is_integer(value))] == []
    assert is_number(3.5)
    assert not is_integer(3.0)


def test_what_is_written_is_valid_for_every_reader():
    def refuse(constant):
        raise AssertionError(constant)

    content = {"loss": math.nan, "parts": [1.5, math.inf, (-math.inf, "ü")], "file": "caf\udce9.png", 3: None}
    text = json_text(content)
    text.encode("utf-8")
    assert json.loads(text, parse_constant=refuse) == {"loss": None, "parts": [1.5, None, [None, "ü"]], "file": "caf?.png", "3": None}
    assert json.loads(json_text(with_text(content)), parse_constant=refuse)["parts"] == [1.5, "inf", ["-inf", "ü"]]


def test_a_message_shows_a_value_as_it_stands_in_the_file():
    assert (short_json("4"), short_json(4), short_json([math.nan]), short_json(None)) == ('"4"', "4", "[NaN]", "null")
    assert short_json(10**100) == "1" + 56 * "0" + "..."


def test_what_was_read_can_be_written_from_deep_inside_a_program():
    content = parse_json(b"[" * DEEPEST + b"]" * DEEPEST)

    def deeper(steps):
        return json_text(content, indent=1) if steps == 0 else deeper(steps - 1)

    assert len(deeper(sys.getrecursionlimit() // 2)) > DEEPEST


def test_all_json_of_the_package_goes_through_one_module():
    users = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "json" in names or (isinstance(node, ast.ImportFrom) and node.module == "json"):
                users.add(path.name)
    assert users == {"json_text.py"}
