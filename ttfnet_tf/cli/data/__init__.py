"""`ttfnet data VERB ...`: everything about a data set before training. Each verb is a file of its name in this folder."""

from __future__ import annotations

from ttfnet_tf.cli.data import check, convert, merge, next, pack, shapes, show, split, stats


def add_group(verbs) -> None:
    """Adds the group `data` with its verbs to the verbs of a parser."""
    group = verbs.add_parser("data", description="Data sets: find mistakes, convert formats, and see what a network will train on.")
    verbs = group.add_verbs()
    for verb in (check, convert, split, merge, next, pack, show, stats, shapes):
        verb.add_to(verbs)
    group.sections = [("verbs", list(verbs.choices))]
