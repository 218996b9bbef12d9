"""Images that are there more than once: inside a split, and in training and validation both.

Copies byte for byte are found by a hash of the file. Copies that were saved again, or in another size, are found in two steps: pairs
whose perceptual hashes (signs of the lowest cosine waves of a 32 x 32 grey image) differ in few bits, then those of them whose
32 x 32 images are nearly equal. Mirrored, turned and cropped copies are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

from ttfnet_tf.doctor.annotations import Entry
from ttfnet_tf.doctor.findings import Findings
from ttfnet_tf.doctor.images import ImageFacts

BITS = 3  # of 64 that may differ, so that one of four bands of 16 is equal; saving again as JPEG of half the size changes up to 2
CORRELATION = 0.99  # of the 32 x 32 images, at least
DIFFERENCE = 8.0  # grey levels, mean over the 32 x 32 images, at most
_FLAT = 3.0  # standard deviation in grey levels below which an image has nothing to be known by
_LARGEST_BAND = 4096  # images of one band that are compared with each other; beyond it the band says nothing


def check_copies(entries: Sequence[Entry], facts: Sequence[ImageFacts], findings: Findings) -> None:
    """Adds the copies inside one split; entries and facts in the same order. Entries of one file are told as file-name-twice."""
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


def check_leaks(
    entries: Sequence[Entry],
    facts: Sequence[ImageFacts],
    val_entries: Sequence[Entry],
    val_facts: Sequence[ImageFacts],
    findings: Findings,
) -> None:
    """Adds the training images that are validation images too; `findings` are those of the training file."""
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


def _add(findings: Findings, code: str, entry: Entry, other: Entry, whose: str = "") -> None:
    detail = f"like {whose}{other.file} (image id {other.id})"
    findings.add(code, "images", entry.position, file=entry.file, image_id=entry.id, detail=detail, other=other.position)


def _similar(these: list[ImageFacts], others: list[ImageFacts]) -> list[tuple[int, int]]:
    """(index in `others`, index in `these`) of look-alikes, each of `these` once; without `others`, (earlier, later) in `these`."""
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
                if key in found or partner < 0 or not _look_alike(thumbnails[earlier], thumbnails[one]):
                    continue
                found[key] = partner
    return [(partner, key) for key, partner in sorted(found.items())]


def perceptual_hash(thumbnail: np.ndarray) -> int | None:
    """64 bits of a grey image, uint8 [32, 32]; None for one without structure."""
    if thumbnail.std() < _FLAT:
        return None
    low = cv2.dct(thumbnail.astype(np.float32))[:8, :8].ravel()
    low[0] = np.median(low[1:])  # the mean brightness says nothing
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "little")


def _look_alike(a: np.ndarray, b: np.ndarray) -> bool:
    a, b = a.astype(np.float64), b.astype(np.float64)
    if np.abs(a - b).mean() > DIFFERENCE:
        return False
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) >= CORRELATION
