"""What the documents say is there: files, settings, links, commands that parse; and every page is in the navigation of the site."""

import argparse
import csv
import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml

from ttfnet_tf import cli
from ttfnet_tf.config import list_settings, load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
SITE = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))  # what it has from outside of docs/
SETTINGS = [one.key for one in list_settings()]
# Settings and sections: "data", "data.val", "data.val.images".
KEYS = {key.rsplit(".", count)[0] for key in SETTINGS for count in range(key.count(".") + 1)}
SECTIONS = sorted({key.partition(".")[0] for key in SETTINGS})
FILES = (
    ".h5",
    ".jpg",
    ".json",
    ".jsonl",
    ".md",
    ".mp4",
    ".npz",
    ".onnx",
    ".tflite",
    ".txt",
    ".xml",
    ".yaml",
)  # of users: data.yaml is no setting
PACKAGES = sorted(path.parent.name for path in (ROOT / "ttfnet_tf").glob("*/__init__.py"))
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def _commands(text):
    """Command lines: those of shell blocks, and indented ones of ours."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"^    ((?:python tools/|ttfnet |make ).*)$", text.replace("\\\n", " "), flags=re.MULTILINE)
    return [line.strip() for line in lines if line.strip()]


def _words(line):
    """The words of a simple command: without variables before it, redirections, pipes and a comment."""
    words = shlex.split(line, comments=True)
    end = next((k for k, word in enumerate(words) if re.match(r"^(\||>|<|&|;)", word)), len(words))
    begin = next((k for k, word in enumerate(words) if not re.match(r"^[A-Z_]+=", word)), end)
    return words[begin:end]


def _our_arguments(line):
    """What follows `ttfnet` in a command line, however it is called; None for other programs."""
    if not re.search(r"ttfnet|tools/", line):
        return None
    program, *rest = _words(line) or [""]
    program = program.removeprefix(".venv/bin/")
    if program == "ttfnet":
        return rest
    if program.startswith("python") and rest[:2] == ["-m", "ttfnet_tf"]:
        return rest[2:]
    if program.startswith("python") and rest and Path(rest[0]).parent == Path("tools"):
        verb = re.search(r'main\(\["([\w-]+)"', (ROOT / rest[0]).read_text(encoding="utf-8"))
        return [verb[1], *rest[1:]] if verb else None  # a program of its own
    return None


def test_command_lines_are_found():
    text = "```bash\nA=1 python tools/data.py check a \\\n  b  # both\nls\n```\n    ttfnet train x.yaml | tee log\n"
    lines = _commands(text)
    assert lines == ["A=1 python tools/data.py check a    b  # both", "ls", "ttfnet train x.yaml | tee log"]
    assert [_our_arguments(line) for line in lines] == [["data", "check", "a", "b"], None, ["train", "x.yaml"]]


@each_document
def test_commands_in_documents_parse(document, monkeypatch):
    monkeypatch.chdir(ROOT)
    for line in _commands(document.read_text(encoding="utf-8")):
        argv = _our_arguments(line)
        if argv is None or {"--help", "--version"} & set(argv):
            continue
        args = cli.parse(argv)
        assert isinstance(args, argparse.Namespace)
        if argv[0] == "train" and Path(args.config).is_file():
            load_config(args.config, args.rest)


@each_document
def test_tools_configs_and_targets_in_documents_exist(document):
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"\b((?:tools|configs|docs|tests)/[\w/.-]+\.(?:py|yaml|md|ipynb))\b", text):
        assert (ROOT / name).is_file(), f"{document.name} names {name}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for names in re.findall(r"`?make ((?:[a-z]+ ?)+)", "\n".join(_commands(text))):
        assert set(names.split()) <= targets, f"{document.name} names make {names}"


@each_document
def test_settings_in_documents_exist(document, tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    text = "\n".join(_commands(document.read_text(encoding="utf-8")))
    for key in re.findall(r"\b((?:data|augment|model|targets|losses|optim|train|decode|export)\.[a-z_.]+)=", text):
        value = load_config(tmp_path / "empty.yaml")
        for part in key.split("."):
            assert hasattr(value, part), f"{document.name} sets {key}"
            value = getattr(value, part)


@each_document
def test_names_in_documents_exist(document):
    """Files of the package, verbs and settings, wherever a text names them."""
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"\bttfnet_tf/[\w/.*-]*[\w/*]", text):
        assert list(ROOT.glob(name)), f"{document.name} names {name}"
    for module, name in re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w/]+)(\.\w+)`", text):  # a file of the package, or a name in it
        path = ROOT / "ttfnet_tf" / f"{module}.py"
        if name not in FILES:
            assert path.is_file(), f"{document.name} names {module}"
            assert name == ".py" or re.search(rf"\b{name[1:]}\b", path.read_text(encoding="utf-8")), f"{document.name} names {module}{name}"
    known = cli.build_parser().verbs.choices
    for verb, inner in re.findall(r"`ttfnet ([a-z-]+)(?: ([a-z]+))?", text):
        verbs = {**known, "help": None}[verb]
        assert verbs is None or verbs.verbs is None or not inner or inner in verbs.verbs.choices, (
            f"{document.name} names ttfnet {verb} {inner}"
        )
    for name in re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_.]+[a-z_])(?:=[^`]*)?`", text):
        if not name.endswith(FILES):
            assert name in KEYS, f"{document.name} names the setting {name}"


@each_document
def test_links_in_documents_lead_somewhere(document):
    for target, anchor in re.findall(r"\]\(([^):]*?)(?:#([^)]*))?\)", document.read_text(encoding="utf-8")):
        file = document.parent / target if target else document
        assert file.exists(), f"{document.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], f"{target}#{anchor}"


def test_every_page_is_in_the_navigation_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = list(_leaves(site["nav"]))
    assert len(pages) == len(set(pages))
    assert set(pages) == {path.relative_to(ROOT / "docs").as_posix() for path in PAGES} | set(SITE["PAGES"])


def test_the_page_of_the_python_interface_names_what_is_there():
    names = re.findall(r"^::: (ttfnet_tf[\w.]+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(names) > 10
    for name in names:
        module, _, last = name.rpartition(".")
        path = ROOT / f"{module.replace('.', '/')}.py"
        whole = (ROOT / f"{name.replace('.', '/')}.py").is_file()
        assert whole or re.search(rf"^(?:def|class) {last}\b", path.read_text(encoding="utf-8"), flags=re.MULTILINE), name


def test_links_out_of_the_folder_lead_to_what_the_site_has():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            if not path.is_relative_to(ROOT / "docs"):
                name = path.relative_to(ROOT).as_posix()
                assert name in SITE["PAGES"] or name.startswith(SITE["FOLDERS"]), f"{page.name} links to {target}: docs/site_hooks.py"


def test_every_table_of_measurements_is_whole_and_on_a_page():
    shown = {page.parent / name for page in PAGES for name in SITE["TABLE"].findall(page.read_text(encoding="utf-8"))}
    tables = set((ROOT / "docs").rglob("*.csv"))
    assert tables
    assert shown == tables
    for path in tables:
        head, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        assert rows
        assert {len(row) for row in rows} == {len(head)}, path.name


def test_the_figure_of_the_layers_is_current():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_layers.py"))
    rows = drawing["layers"]()
    assert ("cli", "__main__") in [tuple(packages) for _, packages in rows]
    assert drawing["FIGURE"].read_text(encoding="utf-8") == drawing["draw"](rows), "run: python docs/draw_layers.py"


def _leaves(entries):
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from _leaves(value)


def test_the_readme_leads_to_every_group_of_pages():
    """A reader who never builds the site still finds each page from the README or from a page that it links to."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)#:]+?\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            waiting.append((page.parent / target).resolve())
    assert set(PAGES) <= seen
