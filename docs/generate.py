"""Writes the parts of the documents that come from the code: `python docs/generate.py`. A test checks that they are current.

settings.md      every setting, from ttfnet_tf/config/schema.py
commands.md      every verb, from its parser in ttfnet_tf/cli/
check.md         every kind of finding, from ttfnet_tf/doctor/kinds.py
tutorial.ipynb   the tutorial as a notebook
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))  # this clone's package, installed or not

from ttfnet_tf.cli import SECTIONS, build_parser  # noqa: E402
from ttfnet_tf.config import Config, list_settings, value_of  # noqa: E402
from ttfnet_tf.doctor.kinds import KINDS, SEVERITIES, Kind  # noqa: E402
from ttfnet_tf.runs.resume import FREE_KEYS  # noqa: E402

BEGIN, END = "<!-- written by docs/generate.py -->", "<!-- end -->"
_COMMON = {"--help", "--debug"}  # options of every verb


def generated() -> dict[Path, str]:
    """{file: the text that it should have}."""
    texts = {FOLDER / name: _filled(FOLDER / name, make()) for name, make in _PARTS.items()}
    writer = runpy.run_path(str(FOLDER / "notebook.py"))
    tutorial = (FOLDER / "tutorial.md").read_text(encoding="utf-8")
    return {**texts, FOLDER / "tutorial.ipynb": writer["dumps"](writer["notebook"](tutorial))}


def settings() -> str:
    """What may change when a run resumes, and a table for each section of the configuration."""
    every = list_settings()
    free = ", ".join(f"`{one.key}`" for one in every if one.key in FREE_KEYS)
    parts = [
        f"**When a run resumes**, only these may differ: {free}. `data.train.*` may name another place that holds the same annotations."
    ]
    for section in dict.fromkeys(one.key.partition(".")[0] for one in every):
        rows = [(f"`{one.key}`", _values(one), _default(one.default), one.meaning) for one in every if one.key.partition(".")[0] == section]
        about = type(value_of(Config(), section)).__doc__
        parts.append(f"## {section}\n\n{about}\n\n{_table(('Setting', 'Values', 'Default', 'Meaning'), rows)}")
    return "\n\n".join(parts)


def commands() -> str:
    """Every verb in the order of use: what it does, arguments, options, examples."""
    known = build_parser().commands()
    overview = [(f"[`ttfnet {name}`](#ttfnet-{name.replace(' ', '-')})", known[name].summary) for _, names in SECTIONS for name in names]
    parts = [_table(("Command", "What it does"), overview)]
    for title, names in SECTIONS:
        parts.append(f"## {title[0].upper()}{title[1:]}")
        parts += [_command(name, known[name]) for name in names]
    return "\n\n".join(parts)


def findings() -> str:
    """A table of the kinds of findings for each severity."""
    parts = []
    for severity in SEVERITIES:
        rows = [(f"`{code}`", kind.what, _effects(kind), kind.advice) for code, kind in KINDS.items() if kind.severity == severity]
        head = ("Code", "What is counted", "What training does", "What to do")
        parts.append(f"### {severity[0].upper()}{severity[1:]}s\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


_PARTS = {"settings.md": settings, "commands.md": commands, "check.md": findings}


def _filled(page: Path, text: str) -> str:
    """The page with `text` between its two marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} must have the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_markdown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _markdown(text: str) -> str:
    """Plain text with `code` as Markdown: nothing else in it is markup, and names of pages are links."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"\bdocs/(\w+\.md)", r"[\1](\1)", re.sub(r"([*|])", r"\\\1", part.replace("<", "&lt;"))) for part in parts[::2]]
    return "".join(parts)


def _values(one) -> str:
    if one.choices:
        return ", ".join(f"`{choice}`" for choice in one.choices)
    if isinstance(one.default, list):
        return "list"
    return {bool: "true, false", int: "integer", float: "number"}.get(type(one.default), "text")


def _default(value) -> str:
    text = json.dumps(value).strip('"')
    return f"`{text}`" if text else ""


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    """One verb. The layout is ours: that of argparse differs between versions of Python."""
    actions = [one for one in parser._actions if one.help != argparse.SUPPRESS and not _COMMON & set(one.option_strings)]
    usage = [f"ttfnet {name}", *(_form(one) for one in actions if one.required)]
    usage += ["[options]"] * any(not one.required for one in actions) + ["[key=value ...]"] * parser.takes_settings
    rows = [(f"`{_form(one)}`", one.help) for one in actions]
    parts = [f"### ttfnet {name}", _markdown(parser.description), f"```text\n{' '.join(usage)}\n```", _table(("Argument", "Meaning"), rows)]
    parts += [_markdown(parser.epilog)] if parser.epilog else []
    return "\n\n".join([*parts, "```bash\n" + "\n".join(parser.examples) + "\n```"])


def _form(action: argparse.Action) -> str:
    """How an argument is written, e.g. `--val ANNOTATIONS IMAGES` or `SOURCE...`."""
    value = action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}"
    if action.nargs == 0:
        value = ""
    elif isinstance(value, tuple):
        value = " ".join(value)
    elif action.nargs in ("+", "*"):
        value += "..."
    return " ".join([*action.option_strings[-1:], *([value] if value else [])])


def _effects(kind: Kind) -> str:
    """What training does, what else under other settings, and what evaluation does."""
    texts = [kind.effect]
    texts += [f"as a {severity}: {text}" if severity != kind.severity else text for severity, text in kind.under.values()]
    texts += [f"evaluation: {kind.validation}"] * (kind.validation is not None)
    return "; ".join(texts)


if __name__ == "__main__":
    for file, content in generated().items():
        file.write_text(content, encoding="utf-8")
