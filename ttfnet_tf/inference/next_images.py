"""Which images to label next: those whose detections the network is least sure of, without copies of each other.

The score of an image is the sum of 1 - |2 s - 1| over the scores s of its detections: a detection of score .5 counts 1, one of .9 or .1
counts .2. So an image with many doubtful objects comes first, and one without a detection last.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.doctor.duplicate_images import pairs_of_copies
from ttfnet_tf.doctor.image_files import inspect_images
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import json_text
from ttfnet_tf.outputs import marked

WRITER = "ttfnet data next"
SCORE_THRESHOLD = 0.1  # below it are mostly detections of nothing, and there are many
COLUMNS = ("rank", "file", "score", "detections", "width", "height")


@dataclass(frozen=True)
class Candidate:
    """An image that may be labelled."""

    file: str
    score: float  # how unsure the detector is
    detections: int
    width: int  # in pixels
    height: int


def uncertainty(scores: np.ndarray | Sequence[float]) -> float:
    """The score of an image from the scores of its detections, 0..1 each."""
    return float(np.sum(1 - np.abs(2 * np.asarray(scores, np.float64) - 1)))


def candidates_of(
    detect: Callable,
    images: Sequence[Path],
    *,
    batch_size: int = 8,
    on_failure: Callable[[str], None] = print,
    on_batch: Callable[[int], None] | None = None,
) -> list[Candidate]:
    """Detects on images; those that cannot be read are reported and left out.

    Args:
        detect: `Detector.batch`.
        images: files.
        batch_size: images of one call.
        on_failure: gets one line for each image that cannot be read.
        on_batch: called with the number of images done so far.
    """
    found = []
    for start in range(0, len(images), batch_size):
        files, arrays = [], []
        for file in images[start : start + batch_size]:
            try:
                arrays.append(read_rgb(file))
                files.append(file)
            except UserError as error:
                on_failure(str(error))
        for file, one in zip(files, detect(arrays, batch_size=batch_size)):
            height, width = one.size
            found.append(Candidate(str(file), uncertainty(one.scores), len(one), width, height))
        if on_batch is not None:
            on_batch(min(start + batch_size, len(images)))
    return found


def copies_among(candidates: Sequence[Candidate], *, workers: int) -> list[tuple[int, int]]:
    """Positions of pairs of images that are copies or near-copies of each other."""
    return pairs_of_copies(inspect_images([Path(one.file) for one in candidates], workers=workers))


def choose(candidates: Sequence[Candidate], copies: Iterable[tuple[int, int]], count: int) -> list[Candidate]:
    """The first `count` images by descending score, then by name; of images that are copies of each other only the first."""
    like: dict[int, set[int]] = {}
    for one, other in copies:
        like.setdefault(one, set()).add(other)
        like.setdefault(other, set()).add(one)
    order = sorted(range(len(candidates)), key=lambda place: (-candidates[place].score, candidates[place].file))
    chosen: list[int] = []
    for place in order:
        if len(chosen) == count:
            break
        if not like.get(place, set()) & set(chosen):
            chosen.append(place)
    return [candidates[place] for place in chosen]


def next_csv(chosen: Sequence[Candidate]) -> str:
    """A table with `COLUMNS`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for rank, one in enumerate(chosen, start=1):
        table.writerow((rank, one.file, f"{one.score:.4f}", one.detections, one.width, one.height))
    return text.getvalue().encode("utf-8", "replace").decode("utf-8")  # a name in another encoding


def next_json(chosen: Sequence[Candidate], about: dict) -> str:
    """The same as an object, with what `about` says beside the images."""
    return json_text(marked(WRITER, {**about, "images": [{"rank": rank, **asdict(one)} for rank, one in enumerate(chosen, start=1)]}))


def is_own_table(path: Path) -> bool:
    """Whether a file begins as `next_csv` does."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline() == ",".join(COLUMNS) + "\n"
    except (OSError, ValueError):
        return False
