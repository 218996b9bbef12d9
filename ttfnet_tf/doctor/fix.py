"""`--fix`: writes a cleaned copy of an annotation file, and a list of every entry that was removed or changed.

Only faults with one sensible answer are fixed; `fix_rules` has the rule for each kind of finding. What can be read is read: numbers from
text, boxes from polygons and masks, sizes and names from the image files. Where training would be wrong and the answer is unknown, the
image is dropped with its annotations; everything else stays and is reported. The list holds removed entries in full, so that nothing is
lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ttfnet_tf.doctor.annotations import check_annotations
from ttfnet_tf.doctor.check import Split, check_again
from ttfnet_tf.doctor.findings import Finding, Findings, Settings
from ttfnet_tf.doctor.fix_draft import Draft
from ttfnet_tf.doctor.fix_rules import ANNOTATION_RULES, ENTRY_RULES, IMAGE_RULES, OBJECTS_LOST
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json, write_text
from ttfnet_tf.json_text import json_text, parse_json, with_text

_ROUNDS = 4  # fixing one fault may reveal another, such as a box that is a repeat only after clipping
_HOPELESS = ("not-json", "not-coco", "section-missing", "section-empty")


@dataclass
class Fixed:
    """The result of `write_fixed`."""

    out: Path
    changes: Path  # JSON lines: action, code, section, entry (as it was), and what it became
    counts: Counter  # (action, section, code) -> entries
    remaining: list[Finding]  # of the cleaned file; no errors

    def lines(self) -> list[str]:
        """Text to print."""
        lines = [f"  {action:8} {section:12} {count:7}  {code}" for (action, section, code), count in sorted(self.counts.items())]
        total = sum(self.counts.values())
        lines.append(f"written: {self.out}, and the {total} removed or changed entries to {self.changes}")
        lost = {code: count for (action, section, code), count in self.counts.items() if (action, section) == ("removed", "annotations")}
        if objects := sum(lost.get(code, 0) for code in OBJECTS_LOST):
            lines.append(f"{objects} annotations that give no box are removed: if they were objects, these are background now")
        remaining = ", ".join(f"{len(one.places)} {one.code}" for one in self.remaining if one.severity == "warning")
        return [*lines, f"not fixed, for you to check: {remaining}"] if remaining else lines


def changes_path(out: str | Path) -> Path:
    """Path of the list of changes: beside the cleaned file."""
    out = Path(out)
    return out.with_name(f"{out.name}.changes.jsonl")


def refuse_existing(out: str | Path) -> None:
    """Raises UserError if a file would be overwritten; a list of changes alone is what a killed call has left."""
    for path in (Path(out), changes_path(out)):
        if (path.exists() or path.is_symlink()) and not (path != Path(out) and _is_list_of_changes(path)):
            raise UserError(f"--fix {out}: {path} exists and is not overwritten; name a new file")


def _is_list_of_changes(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            line = file.readline()
        return not line or {"action", "section", "code"} <= set(parse_json(line))
    except (OSError, ValueError, TypeError):
        return False


def write_fixed(split: Split, out: str | Path, settings: Settings) -> Fixed:
    """Writes the cleaned annotations of `split` to `out`, and the list of changes beside it.

    Args:
        split: checked, with its images or without; not changed.
        out: a new file.
        settings: of the check.

    Raises:
        UserError: `out` exists or cannot be written, or an error has no single answer; then nothing is written.
    """
    refuse_existing(out)
    for finding in split.findings:
        if finding.code in _HOPELESS:
            _refuse(split, finding)
    draft = Draft(split)
    for rules in ENTRY_RULES:
        draft.apply_all(rules, _check(draft, split, settings))
    for rules in IMAGE_RULES:
        findings, draft.facts = check_again(split, draft.content)
        draft.apply_all(rules, findings)
    remaining = _apply_in_rounds(draft, split, settings)
    for finding in remaining:
        if finding.severity == "error":
            _refuse(split, finding, draft)
    fixed = Fixed(Path(out), changes_path(out), Counter((one["action"], one["section"], one["code"]) for one in draft.log), remaining)
    write_text(fixed.changes, "".join(json_text(with_text(one)) + "\n" for one in draft.log))
    write_json(fixed.out, draft.content)
    return fixed


def _apply_in_rounds(draft: Draft, split: Split, settings: Settings) -> list[Finding]:
    """Applies the rules of annotations until nothing changes; returns the findings that remain."""
    for _ in range(_ROUNDS):
        before = len(draft.log)
        for rules in ANNOTATION_RULES:
            draft.apply_all(rules, _check(draft, split, settings))
        remaining = _check(draft, split, settings)
        if len(draft.log) == before:
            break
    return list(remaining)


def _check(draft: Draft, split: Split, settings: Settings) -> Findings:
    findings = Findings(split.name, settings)
    check_annotations(draft.content, findings, settings, training=split.name == "train")
    return findings


def _refuse(split: Split, finding: Finding, draft: Draft | None = None) -> None:
    detail = f" ({finding.places[0].detail})" if finding.places[0].detail else ""
    if draft is not None and finding.code in ("section-empty", "nothing-to-use"):
        reasons = Counter(one["code"] for one in draft.log if one["action"] == "removed")
        if reasons:
            code, count = reasons.most_common(1)[0]
            example = next((place.detail for one in split.findings if one.code == code for place in one.places if place.detail), "")
            raise UserError(
                f"{split.annotations}: nothing to train on is left once {count} entries are removed for {code}"
                f"{f' ({example})' if example else ''}; fix it by hand (nothing was written)"
            )
    raise UserError(f"{split.annotations}: {finding.code}{detail} has no single answer; fix it by hand (nothing was written)")
