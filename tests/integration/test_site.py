"""The documents as a site: they build without a warning, and the pages fetch nothing from elsewhere."""

import importlib.util
import subprocess
import sys
from html.parser import HTMLParser

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
        reason="needs the extra `docs`; make docs installs it",
    ),
]


class _Fetched(HTMLParser):
    """Addresses that a browser loads by itself when it shows a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(values.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(values.get("src", ""))


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_pages_fetch_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        fetched = _Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        assert fetched.addresses
        assert [a for a in fetched.addresses if a.startswith(("http:", "https:", "//"))] == [], page.name


def test_commands_and_functions_explain_themselves(site):
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert "<code>--val ANNOTATIONS IMAGES</code>" in commands
    assert "default runs/&lt;name of CONFIG&gt;" in commands  # not taken for a tag
    assert 'href="settings.html"' in commands
    python = (site / "api.html").read_text(encoding="utf-8")
    for name in (
        "ttfnet_tf.inference.detector.Detector.load",
        "ttfnet_tf.methods.losses.giou_loss",
        "ttfnet_tf.methods.ttfnet.decode_distances",
    ):
        assert f'id="{name}"' in python


def test_recipes_are_part_of_the_site(site):
    assert (site / "configs" / "ttfnet_r18_1x.yaml").is_file()
    assert 'href="configs/published.yaml"' in (site / "ablations.html").read_text(encoding="utf-8")
