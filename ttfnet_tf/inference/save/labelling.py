"""Detections as pre-annotations of labelling tools: CVAT, Label Studio and FiftyOne; each one document with the scores.

Boxes are continuous there: an inclusive corner x2 is the edge x2 + 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.inference.save.documents import About, Entry
from ttfnet_tf.json_text import json_text
from ttfnet_tf.outputs import marked, written_by
from ttfnet_tf.plain_text import printable

SCORE = "score"  # of the attribute in CVAT
FROM_NAME, TO_NAME = "label", "image"  # of the tags <RectangleLabels name= toName=> and <Image name=> in Label Studio


def cvat(entries: Sequence[Entry], about: About) -> str:
    """Annotations of "CVAT for images 1.1", where each box has an attribute `score`."""
    attribute = f"<attribute><name>{SCORE}</name><mutable>False</mutable><input_type>text</input_type></attribute>"
    names = [f"<label><name>{escape(printable(name))}</name><attributes>{attribute}</attributes></label>" for name in about.class_names]
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f"<!-- {written_by('ttfnet predict')} -->",
        "<annotations>",
        "<version>1.1</version>",
    ]
    lines.append(f"<meta><task><labels>{''.join(names)}</labels></task></meta>")
    for number, entry in enumerate(entries):
        name = quoteattr(printable(about.file_name(entry["file"])))
        lines.append(f'<image id="{number}" name={name} width="{entry["width"]}" height="{entry["height"]}">')
        for one, (x, y, width, height) in _boxes(entry):
            corners = f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + width:.2f}" ybr="{y + height:.2f}"'
            label = quoteattr(printable(one["class_name"]))
            score = f'<attribute name="{SCORE}">{one["score"]:.4f}</attribute>'
            lines.append(f'<box label={label} source="auto" occluded="0" {corners} z_order="0">{score}</box>')
        lines.append("</image>")
    return "\n".join([*lines, "</annotations>", ""])


def label_studio(entries: Sequence[Entry], about: About) -> str:
    """Tasks of Label Studio with predictions; images are local files below the folder that holds them all.

    The score of a prediction, by which Label Studio sorts tasks, is the mean of its boxes'.
    """
    tasks = []
    for entry in entries:
        across, down = 100 / entry["width"], 100 / entry["height"]  # percent of a pixel
        results = [
            {
                "id": f"box{number}",
                "type": "rectanglelabels",
                "from_name": FROM_NAME,
                "to_name": TO_NAME,
                "original_width": entry["width"],
                "original_height": entry["height"],
                "image_rotation": 0,
                "value": {
                    **{"x": x * across, "y": y * down, "width": width * across, "height": height * down, "rotation": 0},
                    "rectanglelabels": [one["class_name"]],
                },
                "score": one["score"],
            }
            for number, (one, (x, y, width, height)) in enumerate(_boxes(entry), start=1)
        ]
        scores = [one["score"] for one in entry["detections"]]
        prediction = {"model_version": "ttfnet", "score": sum(scores) / len(scores) if scores else 0.0, "result": results}
        url = f"/data/local-files/?d={quote(about.file_name(entry['file']), errors='replace')}"
        tasks.append({"data": {TO_NAME: url}, "predictions": [prediction]})
    return json_text(tasks)


def fiftyone(entries: Sequence[Entry], about: About) -> str:
    """The labels of a FiftyOneImageDetectionDataset: boxes as fractions, images by their absolute paths."""
    index_of = {name: index for index, name in enumerate(about.class_names)}
    labels = {}
    for entry in entries:
        path = entry["file"] if about.root is None else os.path.join(about.root, about.file_name(entry["file"]))
        labels[path] = [
            {
                "label": index_of[one["class_name"]],
                "bounding_box": [x / entry["width"], y / entry["height"], width / entry["width"], height / entry["height"]],
                "confidence": one["score"],
            }
            for one, (x, y, width, height) in _boxes(entry)
        ]
    return json_text(marked("ttfnet predict", {"classes": list(about.class_names), "labels": labels}))


def _boxes(entry: Entry) -> Iterator[tuple[dict[str, Any], tuple[float, ...]]]:
    """(detection, its x, y, width, height in pixels)."""
    boxes = xyxy_to_xywh([one["box"] for one in entry["detections"]])
    return zip(entry["detections"], (tuple(float(value) for value in box) for box in boxes))
