"""What the site has beyond the pages of this folder: recipes, pages from elsewhere, tables of measurements.

MkDocs calls these functions; mkdocs.yml names this file.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", "tests/golden_subset/README.md")
FOLDERS = ("configs/",)  # their YAML files
TABLE = re.compile(r"^\[[\w.]+\.csv\]\(([\w./]+\.csv)\)$", flags=re.MULTILINE)  # a line that is a link to a CSV file and nothing else


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
    """Turns links that climb out of docs/ into links inside the site, and writes the tables."""
    folder = (ROOT / "docs" / page.file.src_uri).parent
    markdown = TABLE.sub(lambda link: f"{table(folder / link[1])}\n\n{link[0]}", markdown)
    known = "|".join(map(re.escape, (*PAGES, *FOLDERS)))
    inside = "../" * page.file.src_uri.count("/")  # from the page to docs/
    return re.sub(rf"\]\({re.escape(inside)}\.\./({known})", rf"]({inside}\1", markdown)


def table(path: Path) -> str:
    """A CSV file as a Markdown table."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
