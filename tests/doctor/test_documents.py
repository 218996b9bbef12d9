"""docs/check.md names every kind of finding with its severity."""

import re

from ttfnet_tf.doctor.findings import KINDS


def test_the_page_lists_every_kind(root):
    page = (root / "docs" / "check.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \| (\w+) \|", page, flags=re.MULTILINE) == [(code, kind.severity) for code, kind in KINDS.items()]
