"""The folder of a bulk prediction: which model, which images, which shards are done. Nothing here imports TensorFlow.

`manifest.json` holds the model and the options, `images.list` the names of the images, each ended by a NUL byte. Shard k is the k-th run of
`shard_size` names. It is done once its file has its name; it gets that name when it is whole and on the disk. So whatever is killed,
the same command repeats the shards that were under way and no other, and no image has two records or none.

The folder may be a URL, s3://... or gs://...: an object of a store appears whole or not at all.
"""

from __future__ import annotations

import fnmatch
import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, sync_file, sync_folder, write_bytes
from ttfnet_tf.inference.bulk.records import COUNT, DetectorSpec, write_records
from ttfnet_tf.json_text import json_text, parse_json, short_json
from ttfnet_tf.locations import is_url, location

MANIFEST, IMAGES = "manifest.json", "images.list"
_COMMAND = "ttfnet predict"
_ASIDE = ".ttfnet-shard"  # ends the names of unfinished shards


@dataclass(frozen=True)
class Shard:
    """A run of images that becomes one file. Its names are read where it is worked on: the graph of a pipeline may hold few bytes."""

    index: int
    begin: int  # of its names in images.list, in bytes
    end: int
    images: int


@dataclass(frozen=True)
class BulkJob:
    """Where the shards of one bulk prediction go, and how they are made; small enough to be sent to every worker.

    Attributes:
        folder: of the results, a path or a URL; every worker must see it under this name.
        spec: the detector.
        format: "jsonl" or "parquet".
        shards: number of shards.
    """

    folder: str
    spec: DetectorSpec
    format: str
    shards: int

    def name(self, index: int) -> str:
        """Name of a shard's file, such as detections-00003-of-00020.jsonl."""
        return f"detections-{index:05d}-of-{self.shards:05d}.{self.format}"

    def path(self, index: int) -> Any:
        """File of a shard, a `Path` or a `RemotePath`."""
        return location(self.folder) / self.name(index)

    def files(self, shard: Shard) -> list[str]:
        """The images of a shard.

        Raises:
            UserError: the list cannot be read.
        """
        place = location(self.folder) / IMAGES
        try:
            if is_url(place):
                content = place.read_range(shard.begin, shard.end)
            else:
                with open(place, "rb") as file:
                    file.seek(shard.begin)
                    content = file.read(shard.end - shard.begin)
        except OSError as error:
            raise UserError(f"{place}: cannot be read ({error.strerror}); every worker must see it") from None
        return [os.fsdecode(name) for name in content.split(b"\0")[:-1]]

    def names(self) -> set[str]:
        """The names of the files that are in the folder."""
        folder = location(self.folder)
        return set(folder.files() if is_url(folder) else os.listdir(folder))

    def run_shard(self, shard: Shard) -> int:
        """Detects on the images of a shard and writes its file; returns its index. A shard that is done is not done again.

        Raises:
            UserError: the model cannot be loaded, or the file cannot be written.
        """
        path = self.path(shard.index)
        if not path.exists():
            records = list(self.spec.load().records(self.files(shard)))
            try:
                if is_url(path):
                    with tempfile.TemporaryDirectory() as folder:
                        write_records(Path(folder, path.name), records, self.format)
                        path.upload(Path(folder, path.name))
                else:
                    self._write(path, records)
            except OSError as error:
                raise cannot_write(path, error) from None
        return shard.index

    def _write(self, path: Path, records: list[dict[str, Any]]) -> None:
        # Of this host and process: one that was left behind by a killed run may be writing the same shard.
        aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}{_ASIDE}")
        write_records(aside, records, self.format)
        sync_file(aside)
        os.replace(aside, path)
        sync_folder(path.parent)


@dataclass(frozen=True)
class Plan:
    """A job and its images."""

    job: BulkJob
    shards: tuple[Shard, ...]
    is_new: bool  # False where an earlier call has made the list

    @property
    def images(self) -> int:
        """Number of all images."""
        return sum(shard.images for shard in self.shards)

    def pending(self) -> list[Shard]:
        """The shards that are not done."""
        done = self.job.names()
        return [shard for shard in self.shards if self.job.name(shard.index) not in done]

    def remove_rubbish(self) -> None:
        """Removes what killed workers have left behind; call it while no other process works in the folder."""
        for entry in [] if is_url(self.job.folder) else list(os.scandir(self.job.folder)):
            if entry.name.endswith(_ASIDE):
                Path(entry.path).unlink(missing_ok=True)


def open_plan(
    folder: str | Path,
    spec: DetectorSpec,
    sources: Sequence[str],
    find: Callable[[], Sequence[str | Path]],
    *,
    format: str,
    shard_size: int,
) -> Plan:
    """The plan of a folder: that of an earlier call, or a new one.

    Args:
        folder: path or URL; made if missing.
        spec: the detector.
        sources: what the user named, to recognise the same call.
        find: gives the images, in a stable order; called for a new plan only.
        format: "jsonl" or "parquet".
        shard_size: images of one shard.

    Raises:
        UserError: the folder belongs to another model, other images or other options, or to another program.
    """
    place = location(_absolute(folder))
    settings = {
        "model": spec.run,
        "model_sha256": spec.fingerprint(),
        "score_threshold": spec.score_threshold,
        "class_thresholds": dict(spec.class_thresholds),
        **({"classes": list(spec.classes)} if spec.classes else {}),
        "sources": [_absolute(source) for source in sources],
        "format": format,
        "shard_size": shard_size,
    }
    if spec.image_size is not None:
        settings["image_size"] = list(spec.image_size)
    old = _read_manifest(place)
    if old is None:
        names = [os.fsencode(_absolute(file)) + b"\0" for file in find()]
        _put(place / IMAGES, b"".join(names))
        manifest = {"written_by": _COMMAND, "images": len(names), "shards": -(-len(names) // shard_size), **settings}
        _put(place / MANIFEST, json_text(manifest).encode())
    else:
        _refuse_other_call(place, old, settings)
        names = _read_names(place, old.get("images"))
    shards: list[Shard] = []
    begin = 0
    for start in range(0, len(names), shard_size):
        part = names[start : start + shard_size]
        end = begin + sum(map(len, part))
        shards.append(Shard(len(shards), begin, end, len(part)))
        begin = end
    return Plan(BulkJob(str(place), spec, format, len(shards)), tuple(shards), is_new=old is None)


def count_records(plan: Plan) -> tuple[int, int]:
    """Records in all files of a finished job, and how many of them hold an error.

    Raises:
        UserError: a file is missing or holds another number of records than its shard has images.
    """
    total = errors = 0
    for shard in plan.shards:
        path, expected = plan.job.path(shard.index), shard.images
        try:
            found, failed = COUNT[plan.job.format](path.read_bytes())
        except (OSError, ValueError):
            found, failed = -1, 0
        if found != expected:
            what = "is missing" if not path.exists() else f"does not hold its {expected} records"
            raise UserError(f"{path}: {what}; {'delete it and ' if path.exists() else ''}start the same command again")
        total, errors = total + found, errors + failed
    return total, errors


def _absolute(path: str | Path) -> str:
    """The same for every worker; URLs are."""
    return str(path) if is_url(path) else os.path.abspath(path)


def _put(path: Any, content: bytes) -> None:
    """Writes a file that appears at once."""
    if not is_url(path):
        write_bytes(path, content)
        return
    try:
        path.put(content)
    except OSError as error:
        raise cannot_write(path, error) from None


def _read_manifest(folder: Any) -> dict[str, Any] | None:
    """The manifest of an earlier call; None where there is none."""
    if not (folder / MANIFEST).exists():
        names = folder.files() if is_url(folder) else os.listdir(folder) if folder.is_dir() else []
        others = sorted(fnmatch.filter(names, "detections-*-of-*"))
        if others:
            raise UserError(f"{folder / others[0]}: is not of this call; name another folder with --out")
        return None
    try:
        content = parse_json((folder / MANIFEST).read_bytes())
        if content["written_by"] != _COMMAND:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder / MANIFEST}: exists and was not written by {_COMMAND}; name another folder with --out") from None
    return content


def _read_names(folder: Any, count: Any) -> list[bytes]:
    """The names of an earlier call with their ends, of which there must be `count`."""
    try:
        names = [name + b"\0" for name in (folder / IMAGES).read_bytes().split(b"\0")[:-1]]
    except OSError:
        names = []
    if not names or len(names) != count:
        raise UserError(f"{folder / IMAGES}: is missing or damaged; name another folder with --out")
    return names


def _refuse_other_call(folder: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in {**dict.fromkeys(("classes", "image_size")), **new}.items():
        if old.get(key) != value:
            raise UserError(
                f"{folder}: was begun with {key} {short_json(old.get(key))} and is now called with {short_json(value)}; "
                "give the same, or name another folder with --out"
            )
