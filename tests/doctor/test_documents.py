"""docs/check.md says of every kind of finding what the doctor says."""

import re

from ttfnet_tf.doctor.findings import KINDS


def test_the_page_lists_every_kind(root):
    page = (root / "docs" / "check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.*?) \| (.*) \|$", page, flags=re.MULTILINE)
    assert rows == [
        (code, kind.severity, kind.what, kind.effect + (f"; evaluation: {kind.validation}" if kind.validation else ""))
        for code, kind in KINDS.items()
    ]
