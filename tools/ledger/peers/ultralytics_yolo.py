"""Trains a YOLO by the `yolo` command of Ultralytics, in an environment of its own and with its own defaults.

Ultralytics is under the AGPL: it is called as a program, and nothing here imports it. It trains without weights, without validating in
between, and with everything off that would use the network.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from job import MOST, SCORE, read_examples, read_job, write_result

BATCH = 16  # its default


def write_data(job: dict, folder: Path) -> tuple[Path, list[int], int]:
    """Images and labels as it reads them; returns the data file, the category ids and the number of training images.

    Every image is called by its COCO id, which its detections then carry.
    """
    counts = {}
    for split in ("train", "val"):
        examples, category_ids, names = read_examples(job[split], training=split == "train")
        for inner in ("images", "labels"):
            (folder / inner / split).mkdir(parents=True, exist_ok=True)
        for example in examples:
            link = folder / "images" / split / f"{example.id}{example.path.suffix}"
            if not link.exists():
                shutil.copyfile(example.path, link)
            text = "".join(label_line(box, label, example.size) for box, label in zip(example.boxes, example.labels))
            (folder / "labels" / split / f"{example.id}.txt").write_text(text, encoding="utf-8")
        counts[split] = len(examples)
    lines = [f"path: {json.dumps(str(folder))}", "train: images/train", "val: images/val", "names:"]
    lines += [f"  {number}: {json.dumps(name)}" for number, name in enumerate(names)]
    (folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "data.yaml", category_ids, counts["train"]


def label_line(box, label: int, size: tuple[int, int]) -> str:
    """A line of a label file: class, centre x and y, width, height, as fractions of the image; parts outside the image are cut off.

    Args:
        box: xyxy in pixels.
        label: 0-based class.
        size: height and width of the image in pixels.
    """
    height, width = size
    x1, x2 = (min(max(float(v) / width, 0.0), 1.0) for v in (box[0], box[2]))
    y1, y2 = (min(max(float(v) / height, 0.0), 1.0) for v in (box[1], box[3]))
    return f"{label} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"


def training_figures(text: str, images: int, asked: float) -> tuple[float, float | None]:
    """Seconds of training and images trained on, from its results.csv.

    Its clock includes the validation of the last epoch, which begins when the time is over. The last epoch may be a part of one, so
    its images are counted by the speed of those before; None with one epoch. The step during which the time ends is not in the seconds.

    Args:
        text: of results.csv.
        images: of an epoch.
        asked: seconds of the run.
    """
    rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(text.splitlines())]
    times = [float(row["time"]) for row in rows]
    used = min(times[-1], asked)
    return used, (None if len(times) < 2 else images * (len(times) - 1) / times[-2] * used)


def yolo(folder: Path, *words: str) -> str:
    """Runs its command; returns what it printed."""
    config = folder / "settings"
    config.mkdir(exist_ok=True)
    # It draws labels with a font that it would download; any font of that name will do.
    font = next(Path(sys.prefix).glob("lib/python*/site-packages/matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf"))
    shutil.copyfile(font, config / "Arial.ttf")
    quiet = {"YOLO_CONFIG_DIR": str(config), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "true"}
    command = [str(Path(sys.executable).parent / "yolo"), *words]
    done = subprocess.Popen(command, env={**os.environ, **quiet}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
    printed = []
    for line in done.stdout:
        print(line, end="", flush=True)
        printed.append(line)
    if done.wait():
        raise SystemExit(f"yolo {' '.join(words)}: ended with {done.returncode}")
    return "".join(printed)


def main() -> None:
    """One run."""
    job = read_job()
    folder = Path(job["folder"])
    data, category_ids, count = write_data(job, folder / "yolo")
    size = [f"imgsz={job['size'][0]}"] if job["size"] else []
    yolo(folder, "settings", "sync=False")
    common = [f"data={data}", "device=cpu", f"project={folder}", "exist_ok=True", "plots=False", *size]
    run = [f"model={job['settings']['model']}", "pretrained=False", f"time={job['minutes'] / 60}", f"seed={job['seed']}", "val=False"]
    printed = yolo(folder, "detect", "train", *run, "name=train", *common)
    asked = 60 * job["minutes"]
    seconds, images = training_figures((folder / "train" / "results.csv").read_text(encoding="utf-8"), count, asked)
    last = folder / "train" / "weights" / "last.pt"
    yolo(folder, "detect", "val", f"model={last}", "save_json=True", f"conf={SCORE}", f"max_det={MOST}", "name=val", *common)
    written = folder / "val" / "predictions.json"
    found = json.loads(written.read_text(encoding="utf-8")) if written.exists() else []  # it writes none without a detection
    # It numbers classes from 1.
    detections = [{**{key: one[key] for key in ("bbox", "score")}, "image_id": int(one["image_id"]),
                   "category_id": category_ids[one["category_id"] - 1]} for one in found]  # fmt: skip
    side = job["size"][0] if job["size"] else 640
    write_result(
        job,
        detections,
        version=metadata.version("ultralytics"),
        seconds=seconds,
        images=images,
        parameters=int(re.search(r"summary.*?([\d,]+) parameters", printed)[1].replace(",", "")),
        input=f"{side}x{side}",
        batch=BATCH,
    )


if __name__ == "__main__":
    main()
