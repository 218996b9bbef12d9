"""Packs the images of an annotation file into a few large files, which `data.packed` reads.

Every image is decoded once by our reader and once by TensorFlow. Where both give the same pixels the file is stored as it is, else as a
PNG file of the reader's pixels, so that a pipeline without Python trains on exactly what training from files sees.

A shard is written aside and gets its name when it is on the disk, the list of its images before it, and index.json says at the end that
all are there. The same command after a kill keeps the complete shards and goes on with the next.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ttfnet_tf.data.coco_file import read_coco
from ttfnet_tf.data.images import read_image_file, read_with_header, turn
from ttfnet_tf.data.packed import ANNOTATIONS, FIELDS, INDEX, VERSION, WRITER, is_packed, list_of, read_index, read_rows
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, new_file_by_name, remove_left_over, write_bytes
from ttfnet_tf.json_text import json_text, parse_json
from ttfnet_tf.locations import RemotePath, location
from ttfnet_tf.outputs import is_same, marked

SHARD_BYTES = 256 << 20
_FRAME = 12, 4  # bytes before and after a record's content in a TFRecord file: length with its checksum, and the content's checksum
_TURNS = range(2, 9)  # EXIF orientations that change something


@dataclass(frozen=True)
class Packed:
    """What `pack` has done."""

    folder: Any  # path or URL
    images: int
    shards: int
    kept: int  # shards of an earlier call
    recoded: int  # images stored as PNG
    size: int  # bytes of all shards

    def line(self) -> str:
        """One line to print."""
        kept = f", {self.kept} of them from before" if self.kept else ""
        recoded = f"; {self.recoded} stored as PNG, since TensorFlow decodes them differently" if self.recoded else ""
        return f"{self.folder}: {self.images} images in {self.shards} shards{kept}, {self.size / 1e6:.1f} MB{recoded}"


@dataclass(frozen=True)
class _Stored:
    """One image as it goes into a shard."""

    entry: dict[str, Any]
    content: bytes
    size: tuple[int, int]
    orientation: int
    is_recoded: bool


def pack(
    annotations: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    shards: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    workers: int = 0,
    on_start: Callable[[int], object] = lambda total: None,
    on_image: Callable[[int], object] = lambda done: None,
) -> Packed:
    """Packs all images of an annotation file; goes on where an earlier call was killed.

    Args:
        annotations: COCO instances JSON; a path or a URL, as the next two.
        images: folder that the file names in it are relative to.
        out: the folder, new, empty, or of an earlier call with the same arguments.
        shards: number of shards; by default as many as `shard_bytes` asks for.
        shard_bytes: about as many bytes of images in a shard.
        workers: images decoded at a time; 0 is one for each processor.
        on_start: called with the number of images, once all files were seen.
        on_image: called with the number of images done.

    Raises:
        UserError: the annotations are wrong, an image is missing or broken, or `out` holds something else.
    """
    source, folder, target = location(annotations), location(images), location(out)
    coco = read_coco(source)
    if folder == target or is_same(folder, target):
        raise UserError(f"{target}: holds the images; name another folder with --out")
    entries = list({entry["file_name"]: entry for entry in coco.dataset["images"]}.values())
    sizes = _sizes_of(folder, entries)
    count = min(shards or max(1, round(sum(sizes) / shard_bytes)), len(entries))
    bounds = [len(entries) * k // count for k in range(count + 1)]
    parts = [entries[start:end] for start, end in zip(bounds, bounds[1:])]
    content = source.read_bytes()
    plan = _plan(content, coco, parts)
    _begin(target, plan, content)
    on_start(len(entries))
    kept, recoded, done = 0, 0, 0
    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for shard, part in zip(plan["shards"], parts):
            if (target / shard["file"]).exists():
                kept, done = kept + 1, done + len(part)
                recoded += _recoded(target, shard["file"])
                on_image(done)
            else:
                for stored in _write_shard(target, shard["file"], pool, folder, part, _boxes_of(coco, part)):
                    done, recoded = done + 1, recoded + stored.is_recoded
                    on_image(done)
    return _finish(target, plan, kept=kept, recoded=recoded)


def _plan(content: bytes, coco: Any, parts: Sequence[Sequence[dict]]) -> dict[str, Any]:
    """index.json before the first shard."""
    names = [f"shard-{number:05d}-of-{len(parts):05d}.tfrecord" for number in range(len(parts))]
    index = {
        "version": VERSION,
        "complete": False,
        "annotations": {"sha256": hashlib.sha256(content).hexdigest(), "boxes": len(coco.dataset["annotations"])},
        "categories": [{"id": one["id"], "name": one["name"]} for one in coco.dataset["categories"]],
        "images": sum(map(len, parts)),
        "shards": [{"file": name, "images": len(part)} for name, part in zip(names, parts)],
    }
    return marked(WRITER, index)


def _begin(out: Any, plan: dict[str, Any], annotations: bytes) -> None:
    """Makes the folder, or sees that it is the one of this plan."""
    try:
        if isinstance(out, RemotePath):
            others = sorted(out.files())
        else:
            if out.exists() and not out.is_dir():
                raise UserError(f"{out}: is a file; name a folder")
            out.mkdir(parents=True, exist_ok=True)
            remove_left_over(out, again=True)
            others = sorted(os.listdir(out))
    except OSError as error:
        raise cannot_write(out, error) from None
    if is_packed(out):
        before = read_index(out)
        same = ("version", "annotations", "images")
        if [before.get(key) for key in same] != [plan[key] for key in same] or _layout(before) != _layout(plan):
            raise UserError(
                f"{out}: holds another pack (other annotations, or another number of shards); name another folder, or delete it"
            )
        if _fingerprint_of(out / ANNOTATIONS) != plan["annotations"]["sha256"]:  # killed before it was written
            _write(out / ANNOTATIONS, annotations)
        return
    if others:
        raise UserError(f"{out}: holds other files, such as {others[0]}; name a new or empty folder")
    _write(out / INDEX, json_text(plan).encode())
    _write(out / ANNOTATIONS, annotations)


def _write(file: Any, content: bytes) -> None:
    """Writes a file or an object; it is there complete or not at all."""
    if not isinstance(file, RemotePath):
        write_bytes(file, content)
        return
    try:
        file.put(content)
    except OSError as error:
        raise cannot_write(file, error) from None


def _fingerprint_of(file: Any) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _layout(index: dict[str, Any]) -> list[tuple[str, int]]:
    return [(shard["file"], shard["images"]) for shard in index["shards"]]


def _finish(out: Any, plan: dict[str, Any], *, kept: int, recoded: int) -> Packed:
    """Writes index.json again, which makes the folder complete."""
    sizes = out.files() if isinstance(out, RemotePath) else {file.name: file.stat().st_size for file in out.iterdir()}
    for shard in plan["shards"]:
        shard["bytes"] = sizes[shard["file"]]
        read_rows(out, shard["file"], shard["images"], shard["bytes"])
    size = sum(shard["bytes"] for shard in plan["shards"])
    _write(out / INDEX, json_text({**plan, "complete": True}).encode())
    return Packed(out, plan["images"], len(plan["shards"]), kept, recoded, size)


def _write_shard(
    out: Any, name: str, pool: concurrent.futures.Executor, images: Any, part: Sequence[dict], boxes: Sequence[list[dict]]
) -> Iterator[_Stored]:
    """Writes one shard and the list of its images; yields each image when it is written."""
    rows, place, recoded = [], 0, 0
    with _new_shard(out / name) as temporary:
        try:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for stored, annotations in zip(pool.map(lambda entry: _stored(images / entry["file_name"], entry), part), boxes):
                    record = _example(stored, annotations)
                    start = place + _FRAME[0] + record.index(stored.content)
                    numbers = (place, start, len(stored.content), zlib.crc32(stored.content), *stored.size, stored.orientation)
                    rows.append([stored.entry["file_name"], *numbers])
                    writer.write(record)
                    place += len(record) + sum(_FRAME)
                    recoded += stored.is_recoded
                    yield stored
        except tf.errors.OpError as error:
            raise UserError(f"{out / name}: cannot be written ({error.message})") from None
        # Before the shard: one that has its name has its list.
        content = marked(WRITER, {"fields": FIELDS, "recoded": recoded, "images": rows})
        _write(out / list_of(name), json_text(content).encode())


@contextlib.contextmanager
def _new_shard(file: Any) -> Iterator[Path]:
    """A local name to write to; what lies there becomes `file`, which is a path or a URL, when the block ends without an error."""
    if not isinstance(file, RemotePath):
        with new_file_by_name(file) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="ttfnet-pack-") as folder:
        temporary = Path(folder, file.name)
        yield temporary
        try:
            file.upload(temporary)
        except OSError as error:
            raise cannot_write(file, error) from None


def _recoded(out: Any, shard: str) -> int:
    """Number of images of a shard that are stored as PNG though their file was something else."""
    return int(parse_json((out / list_of(shard)).read_bytes()).get("recoded", 0))


def _sizes_of(images: Any, entries: Sequence[dict]) -> list[int]:
    """Bytes of every image file.

    Raises:
        UserError: one is missing.
    """
    sizes = []
    for entry in entries:
        file = images / entry["file_name"]
        try:
            if isinstance(images, RemotePath):
                known = images.known_files()
                if (name := os.path.normpath(entry["file_name"])) not in known:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                sizes.append(known[name])
            else:
                sizes.append(os.stat(file).st_size)
        except OSError as error:
            raise UserError(f"{file} (image id {entry['id']}): cannot be read ({error.strerror}); check the images folder") from None
    return sizes


def _stored(file: Any, entry: dict) -> _Stored:
    """Reads one image and finds the form in which TensorFlow decodes it to the reader's pixels."""
    name = f"{file} (image id {entry['id']})"
    try:
        content = read_image_file(file, name)
        pixels, header = read_with_header(content, name)
    except UserError as error:
        raise UserError(f"{error}; fix it, or remove it with ttfnet data check --fix") from None
    if header.format in ("JPEG", "PNG") and np.array_equal(turn(_decoded(content), header.orientation), pixels):
        return _Stored(entry, content, header.size, header.orientation, False)
    _, encoded = cv2.imencode(".png", pixels[..., ::-1])
    return _Stored(entry, encoded.tobytes(), (pixels.shape[0], pixels.shape[1]), 1, True)


def _decoded(content: bytes) -> np.ndarray:
    """The pixels of TensorFlow's decoder, as the pipeline uses it; empty where it refuses the file."""
    try:
        with tf.device("CPU:0"):
            return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    except tf.errors.OpError:
        return np.zeros([0, 0, 3], np.uint8)


def _boxes_of(coco: Any, part: Sequence[dict]) -> list[list[dict]]:
    return [coco.imgToAnns[entry["id"]] for entry in part]


def _example(stored: _Stored, annotations: Sequence[dict]) -> bytes:
    """A serialized `tf.train.Example` with the features of TensorFlow's Object Detection API; boxes are fractions of the annotated size."""
    width, height = stored.entry["width"], stored.entry["height"]
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) / [width, height, width, height]
    kind = b"png" if stored.content[:4] == b"\x89PNG" else b"jpeg"
    features = {
        "image/encoded": [stored.content],
        "image/format": [kind],
        "image/filename": [stored.entry["file_name"].encode()],
        "image/source_id": [str(stored.entry["id"]).encode()],
        "image/height": [stored.size[0]],
        "image/width": [stored.size[1]],
        "image/object/class/label": [annotation["category_id"] for annotation in annotations],
        "image/object/is_crowd": [int(bool(annotation.get("iscrowd"))) for annotation in annotations],
        **{f"image/object/bbox/{side}": corners[:, k].tolist() for k, side in enumerate(("xmin", "ymin", "xmax", "ymax"))},
    }
    return tf.train.Example(
        features=tf.train.Features(feature={key: _feature(value) for key, value in features.items()})
    ).SerializeToString(deterministic=True)


def _feature(values: list) -> tf.train.Feature:
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
