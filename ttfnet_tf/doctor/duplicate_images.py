"""Checks for duplicate images: inside a split, and leaks between training and validation.

Exact copies have the same hash of the file. Near-duplicates, saved again or in another size, are found in two steps: pairs whose
perceptual hashes (signs of the lowest frequencies of a 32 x 32 grey image) differ in few bits, then those of them whose 32 x 32 images
are nearly equal. Mirrored, rotated and cropped copies are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

from ttfnet_tf.doctor.findings import Findings
from ttfnet_tf.doctor.image_files import ImageFacts
from ttfnet_tf.doctor.inventory import ImageEntry

BITS = 3  # of 64 may differ, so that one of four bands of 16 is equal; saving again as JPEG of half the size changes up to 2
CORRELATION = 0.99  # least correlation of the 32 x 32 images
DIFFERENCE = 8.0  # largest mean difference of the 32 x 32 images, in grey levels
_FLAT = 3.0  # standard deviation in grey levels below which an image is too flat to be compared
_LARGEST_BAND = 4096  # images of one band at most; a band of more images distinguishes nothing and is ignored


def check_duplicates(entries: Sequence[ImageEntry], facts: Sequence[ImageFacts], findings: Findings) -> None:
    """Adds the duplicates inside one split; entries and facts in the same order. Entries of one file are file-name-twice instead."""
    first: dict[bytes, int] = {}
    unique = []
    for index, one in enumerate(facts):
        if one.problem:
            continue
        earlier = first.setdefault(one.digest, index)
        if earlier == index:
            unique.append(index)
        elif facts[earlier].path != one.path:
            _add(findings, "image-twice", entries[index], entries[earlier])
    for earlier, later in _similar([facts[index] for index in unique], []):
        _add(findings, "image-similar", entries[unique[later]], entries[unique[earlier]])


def pairs_of_copies(facts: Sequence[ImageFacts]) -> list[tuple[int, int]]:
    """(earlier, later) positions of exact copies and near-duplicates, each copy at least once; unreadable files have none."""
    first: dict[bytes, int] = {}
    pairs, unique = [], []
    for index, one in enumerate(facts):
        if one.problem:
            continue
        earlier = first.setdefault(one.digest, index)
        if earlier == index:
            unique.append(index)
        else:
            pairs.append((earlier, index))
    return pairs + [(unique[earlier], unique[later]) for earlier, later in _similar([facts[index] for index in unique], [])]


def check_leaks(
    entries: Sequence[ImageEntry],
    facts: Sequence[ImageFacts],
    val_entries: Sequence[ImageEntry],
    val_facts: Sequence[ImageFacts],
    findings: Findings,
) -> None:
    """Adds the training images that are also validation images; `findings` are those of the training file."""
    of_digest = {one.digest: entry for entry, one in zip(val_entries, val_facts) if not one.problem}
    rest = []
    for index, (entry, one) in enumerate(zip(entries, facts)):
        if one.problem:
            continue
        if one.digest in of_digest:
            _add(findings, "leak", entry, of_digest[one.digest], "validation ")
        else:
            rest.append(index)
    sound = [index for index, one in enumerate(val_facts) if not one.problem]
    if not sound:
        return
    for of_val, of_train in _similar([facts[index] for index in rest], [val_facts[index] for index in sound]):
        _add(findings, "leak-similar", entries[rest[of_train]], val_entries[sound[of_val]], "validation ")


def _add(findings: Findings, code: str, entry: ImageEntry, other: ImageEntry, whose: str = "") -> None:
    detail = f"like {whose}{other.file} (image id {other.id})"
    findings.add(code, "images", entry.position, file=entry.file, image_id=entry.id, detail=detail, other=other.position)


def _similar(these: list[ImageFacts], others: list[ImageFacts]) -> list[tuple[int, int]]:
    """(index in `others`, index in `these`) of near-duplicates, each of `these` once; without `others`, (earlier, later) in `these`."""
    inside = not others
    thumbnails = [one.thumbnail for one in [*these, *others]]
    hashes = [perceptual_hash(one) for one in thumbnails]
    bands: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, value in enumerate(hashes):
        if value is not None:
            for band in range(4):
                bands[band, (value >> (16 * band)) & 0xFFFF].append(index)
    as_bytes = np.array([list((value or 0).to_bytes(8, "little")) for value in hashes], np.uint8).reshape(-1, 8)
    found: dict[int, int] = {}
    for members in bands.values():
        if len(members) < 2 or len(members) > _LARGEST_BAND:
            continue
        for place, earlier in enumerate(members[:-1]):
            later = np.array(members[place + 1 :])
            if not inside and (earlier >= len(these) or later[-1] < len(these)):
                continue
            bits = np.unpackbits(as_bytes[later] ^ as_bytes[earlier], axis=1).sum(axis=1)
            for one in later[bits <= BITS].tolist():
                key, partner = (one, earlier) if inside else (earlier, one - len(these))
                if key in found or partner < 0 or not _is_near_duplicate(thumbnails[earlier], thumbnails[one]):
                    continue
                found[key] = partner
    return [(partner, key) for key, partner in sorted(found.items())]


def perceptual_hash(thumbnail: np.ndarray) -> int | None:
    """64 bits of a grey image, uint8 [32, 32]; None for a flat image."""
    if thumbnail.std() < _FLAT:
        return None
    low = cv2.dct(thumbnail.astype(np.float32))[:8, :8].ravel()
    low[0] = np.median(low[1:])  # the mean brightness is no feature
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "little")


def _is_near_duplicate(a: np.ndarray, b: np.ndarray) -> bool:
    a, b = a.astype(np.float64), b.astype(np.float64)
    if np.abs(a - b).mean() > DIFFERENCE:
        return False
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) >= CORRELATION
