"""From image files to records, and records to a file: JSON lines or Parquet. TensorFlow is imported when a detector is loaded.

A record is {"file", "height", "width", "detections": [{"box": [x1, y1, x2, y2], "score", "class_id", "class_name"}]}, boxes in pixels of
the image, or {"error", "file"} for an image that cannot be read. In Parquet, what a record lacks is null.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.json_text import json_text
from ttfnet_tf.locations import is_url

_READERS = 4  # threads that decode the next batch while the network runs


@dataclass(frozen=True)
class DetectorSpec:
    """What to load in every worker: small, hashable and ready to be sent.

    Attributes:
        run: run, checkpoint, SavedModel or .tflite file; every worker must see it under this name.
        score_threshold: only detections above it, 0..1.
        class_thresholds: (name of a class, threshold) where one differs.
        batch_size: images of one call of the network.
        image_size: (H, W) in pixels that images are resized to; None is that of training.
        classes: names of the only classes of which detections are kept; empty for all.
    """

    run: str
    score_threshold: float = 0.3
    class_thresholds: tuple[tuple[str, float], ...] = ()
    batch_size: int = 8
    image_size: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()

    def load(self) -> RecordMaker:
        """The detector, loaded once in a process.

        Raises:
            UserError: see `Detector.load`.
        """
        return _load(self)

    def fingerprint(self) -> str:
        """SHA-256 over the files of the model, so that no job mixes two."""
        exported = find_exported(self.run)
        if exported is None:
            path = _checkpoint(self.run) if is_url(self.run) else Path(self.run)
            files = [path.with_name(f"{path.name}.index")]  # which holds a checksum of every tensor
        else:
            files = [exported.path] if exported.path.is_file() else sorted(path for path in exported.path.rglob("*") if path.is_file())
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        return digest.hexdigest()


def model_path(run: str | Path) -> str:
    """The version folder, .tflite file or checkpoint behind a name, which stays the same when a newer one appears beside it.

    Raises:
        UserError: there is no such model.
    """
    exported = find_exported(run)
    if is_url(run):
        version = exported.path.name if exported is not None else ""
        return f"{run}/{version}" if version.isdecimal() and Path(str(run)).name != version else str(run)
    if exported is not None:
        return os.path.abspath(exported.path)
    return os.path.abspath(_checkpoint(run))


def _checkpoint(run: str | Path) -> Path:
    """Prefix of the files of a run's best checkpoint, else its latest."""
    from ttfnet_tf.runs.checkpoint import locate
    from ttfnet_tf.runs.remote_run import fetched

    return locate(fetched(str(run)) if is_url(run) else Path(run))[1]


class RecordMaker:
    """A detector that takes image files and gives records, one for each, in order.

    Args:
        detector: anything with `Detector.batch`.
        batch_size: images of one call.
    """

    def __init__(self, detector, batch_size: int):
        self.detector, self.batch_size = detector, batch_size

    def records(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Detects on files; one that cannot be read gets a record with the error. The next batch is decoded while the network runs."""
        with ThreadPoolExecutor(_READERS) as pool:
            waiting: list = []
            for start in range(0, len(files), self.batch_size):
                batch = files[start : start + self.batch_size]
                following = [(file, pool.submit(_read, file)) for file in batch]
                yield from self._detect(waiting)
                waiting = following
            yield from self._detect(waiting)

    def _detect(self, waiting: Sequence[tuple]) -> list[dict[str, Any]]:
        read = [(file, future.result()) for file, future in waiting]
        images = [image for _, image in read if isinstance(image, np.ndarray)]
        found = iter(self.detector.batch(images, batch_size=self.batch_size))
        return [_record(file, next(found)) if isinstance(image, np.ndarray) else {"error": image, "file": file} for file, image in read]


@functools.cache
def _load(spec: DetectorSpec) -> RecordMaker:
    from ttfnet_tf.inference.detector import Detector

    with _cache_of_its_own() if is_url(spec.run) else contextlib.nullcontext():
        detector = Detector.load(
            spec.run, image_size=spec.image_size, score_threshold=spec.score_threshold, class_thresholds=dict(spec.class_thresholds)
        )
    if spec.classes:
        detector.keep_classes(spec.classes)
    return RecordMaker(detector, spec.batch_size)


@contextlib.contextmanager
def _cache_of_its_own() -> Iterator[None]:
    """For the copy of a model by URL: workers of one machine would replace each other's."""
    before = os.environ.get("TTFNET_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TTFNET_CACHE"] = folder
        try:
            yield
        finally:
            del os.environ["TTFNET_CACHE"]
            if before is not None:
                os.environ["TTFNET_CACHE"] = before


def _read(file: str) -> np.ndarray | str:
    """The pixels, or why there are none."""
    try:
        return read_rgb(file)
    except UserError as error:
        return str(error)


def _record(file: str, detections) -> dict[str, Any]:
    height, width = detections.size
    return {"file": file, "height": height, "width": width, "detections": detections.to_json()}


def write_records(path: Path, records: Iterable[dict[str, Any]], format: str) -> None:
    """Writes records as JSON lines or Parquet.

    Args:
        path: of the new file.
        records: see above.
        format: "jsonl" or "parquet".

    Raises:
        UserError: pyarrow is missing.
    """
    if format == "jsonl":
        with open(path, "wb") as file:
            file.writelines(json_text(record).encode() + b"\n" for record in records)
        return
    pyarrow, parquet = import_pyarrow()
    rows = [{**record, "file": record["file"].encode("utf-8", "replace").decode()} for record in records]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema(pyarrow)), path)


def schema(pyarrow):
    """The columns of a Parquet file."""
    detection = [
        ("box", pyarrow.list_(pyarrow.float32(), 4)),
        ("score", pyarrow.float32()),
        ("class_id", pyarrow.int32()),
        ("class_name", pyarrow.string()),
    ]
    return pyarrow.schema(
        [
            ("file", pyarrow.string()),
            ("height", pyarrow.int32()),
            ("width", pyarrow.int32()),
            ("detections", pyarrow.list_(pyarrow.struct(detection))),
            ("error", pyarrow.string()),
        ]
    )


def import_pyarrow():
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("--format parquet: needs pyarrow, which is not installed; pip install 'ttfnet-tf[parquet]'") from None
    return pyarrow, pyarrow.parquet


def _count_lines(content: bytes) -> tuple[int, int]:
    return content.count(b"\n"), (b"\n" + content).count(b'\n{"error"')


def _count_rows(content: bytes) -> tuple[int, int]:
    column = import_pyarrow()[1].read_table(io.BytesIO(content), columns=["error"])["error"]
    return len(column), len(column) - column.null_count


# Format -> a function of a file's bytes: its records, and those with an error.
COUNT: dict[str, Callable[[bytes], tuple[int, int]]] = {"jsonl": _count_lines, "parquet": _count_rows}
