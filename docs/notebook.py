"""A page as a Jupyter notebook; `docs/generate.py` writes docs/tutorial.ipynb with it."""

from __future__ import annotations

import json
import re

_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n", flags=re.DOTALL | re.MULTILINE)
# Jupyter starts in the folder of the notebook; the commands belong into the clone.
_FIRST = "import os\n\nos.chdir(os.path.dirname(os.getcwd()))"


def notebook(page: str) -> dict:
    """The notebook of a page: shell and Python blocks become cells, what stands between them text."""
    cells, end = [_code(_FIRST)], 0
    for block in _BLOCK.finditer(page):
        cells += _text(page[end : block.start()])
        language, code = block[1], block[2].rstrip("\n")
        cells.append(_code(f"%%bash\n{code}" if language == "bash" else code))
        end = block.end()
    cells += _text(page[end:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def dumps(content: dict) -> str:
    """The text of an .ipynb file."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _code(source: str) -> dict:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source.splitlines(keepends=True)}


def _text(source: str) -> list[dict]:
    source = source.strip("\n")
    return [{"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}] if source else []
