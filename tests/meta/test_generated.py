"""What the documents say of settings, verbs and findings is what the code says; `python docs/generate.py` writes it."""

import argparse
import dataclasses
import runpy
from pathlib import Path

import pytest

from ttfnet_tf.cli import build_parser
from ttfnet_tf.config import Config
from ttfnet_tf.doctor.findings import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))
TEXTS = GENERATE["generated"]()


def _rows(page):
    """The cells of every row of every table."""
    return [line.strip("|").split(" | ") for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_generated_parts_are_current(path):
    assert path.read_text(encoding="utf-8") == TEXTS[path], "run: python docs/generate.py"


def _keys(section, prefix=""):
    for name, value in section.items():
        yield from _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


def test_every_setting_has_a_row():
    assert [row[0].strip(" `") for row in _rows("settings.md") if "." in row[0]] == list(_keys(dataclasses.asdict(Config())))


def test_every_verb_lists_its_options():
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name, parser in build_parser().commands().items():
        part = text.partition(f"\n### ttfnet {name}\n")[2].partition("\n### ")[0]
        options = [option for action in parser._actions if action.help != argparse.SUPPRESS for option in action.option_strings]
        assert [option for option in options if option not in ("-h", "--help", "--debug") and f"| `{option}" not in part] == []
        assert all(example in part for example in parser.examples)


def test_every_kind_of_finding_has_a_row():
    rows = {row[0].strip(" `"): row[1:] for row in _rows("check.md")}
    for code, kind in KINDS.items():
        assert rows[code][0] == kind.what
        assert all(text in rows[code][1] for text in (kind.effect, kind.validation or "", *(text for _, text in kind.under.values())))


def test_text_is_not_taken_for_markup():
    markdown = GENERATE["_markdown"]
    assert markdown("runs/<name>: a|b, data.*, see docs/check.md") == r"runs/&lt;name>: a\|b, data.\*, see [check.md](check.md)"
    assert markdown("`timm/<name>` or data.*") == r"`timm/<name>` or data.\*"


def test_a_page_without_a_place_for_its_part_is_reported(tmp_path):
    (tmp_path / "page.md").write_text("# Page\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md must have the lines"):
        GENERATE["_filled"](tmp_path / "page.md", "text")
