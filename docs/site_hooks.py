"""What the site has beyond the pages of this folder: recipes, pages from elsewhere in the clone, and the commands in their own words.

MkDocs calls these functions; mkdocs.yml names this file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md")
FOLDERS = ("configs/",)  # their YAML files
MARK = "<!-- the help of every command -->"


def on_files(files, config):
    """Adds what links of the pages lead to outside of docs/."""
    from mkdocs.structure.files import File

    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.yaml")):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", text)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links that climb out of docs/ into links inside the site, and writes the commands."""
    if MARK in markdown:
        markdown = markdown.replace(MARK, commands())
    known = "|".join(map(re.escape, (*PAGES, *FOLDERS)))
    return re.sub(rf"\]\(\.\./({known})", r"](\1", markdown)


def commands() -> str:
    """Every verb's help as Markdown, in the order of use."""
    os.environ["COLUMNS"] = "80"  # argparse wraps at it
    from ttfnet_tf.cli import build_parser

    parser = build_parser()
    known = parser.commands()
    parts = []
    for title, names in parser.sections:
        parts.append(f"## {title[0].upper()}{title[1:]}\n")
        parts += [f"### ttfnet {name}\n\n```text\n{known[name].format_help().rstrip()}\n```\n" for name in names]
    return "\n".join(parts)
