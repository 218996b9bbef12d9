"""Trains torchvision's small detectors by the recipe of its reference scripts, which are not part of its wheel.

Their learning rates are for eight devices; on one, rate and batch are an eighth. Epochs become fractions of the time.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import torch
import torchvision
from job import MOST, SCORE, Budget, coco_results, multi_step, orders, read_examples, read_job, write_result
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

RECIPES = {
    "ssdlite320_mobilenet_v3_large": {
        "batch": 24,
        "lr": 0.15 / 8,
        "weight_decay": 4e-5,
        "rate": lambda fraction: 0.5 * (1 + math.cos(math.pi * fraction)),
        "augment": [v2.RandomIoUCrop(), v2.RandomHorizontalFlip(0.5)],
        "options": {"score_thresh": SCORE, "detections_per_img": MOST},
        "input": "320x320",
    },
    "fasterrcnn_mobilenet_v3_large_320_fpn": {
        "batch": 2,
        "lr": 0.02 / 8,
        "weight_decay": 1e-4,
        "rate": lambda fraction: multi_step(fraction, (16 / 26, 22 / 26)),
        "augment": [v2.RandomHorizontalFlip(0.5)],
        "options": {"box_score_thresh": SCORE, "box_detections_per_img": MOST},
        "input": "320x640",  # shorter side, and the longer one at most
    },
}


def build(name: str, classes: int, weights: str | None, options: dict):
    """The detector; class 0 is its background.

    Args:
        weights: file of MobileNetV3-Large on ImageNet, as torchvision publishes it; None is random.
    """
    backbone = None
    if weights:
        backbone = torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1
        place = Path(torch.hub.get_dir()) / "checkpoints" / Path(backbone.url).name  # where it looks before it would download
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, place)
    return getattr(torchvision.models.detection, name)(weights=None, weights_backbone=backbone, num_classes=classes + 1, **options)


def load(example):
    """Image and target as torchvision takes them."""
    with Image.open(example.path) as file:
        image = tv_tensors.Image(np.asarray(file.convert("RGB")).transpose(2, 0, 1).copy())
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(example.boxes), format="XYXY", canvas_size=example.size)
    return image, {"boxes": boxes, "labels": torch.from_numpy(example.labels + 1)}


def main() -> None:
    """One run."""
    job = read_job()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else job["cores"])
    torch.manual_seed(job["seed"])
    name = job["settings"]["model"]
    recipe = RECIPES[name]
    train, category_ids, _ = read_examples(job["train"], training=True)
    val, _, _ = read_examples(job["val"], training=False)
    model = build(name, len(category_ids), job["weights"], recipe["options"])
    augment = v2.Compose([*recipe["augment"], v2.SanitizeBoundingBoxes(), v2.ToDtype(torch.float32, scale=True)])
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=recipe["lr"], momentum=0.9, weight_decay=recipe["weight_decay"])
    batch_size = min(recipe["batch"], len(train))
    warm_up = min(1000, len(train) // batch_size)  # iterations of the first epoch, as in the reference
    budget, images = Budget(60 * job["minutes"]), 0
    model.train()
    budget.start()
    for step, order in enumerate(orders(len(train), batch_size, job["seed"])):
        batch = [augment(*load(train[index])) for index in order]
        warm = min(1.0, 0.001 + 0.999 * step / warm_up)
        for group in optimizer.param_groups:
            group["lr"] = recipe["lr"] * warm * recipe["rate"](budget.fraction)
        loss = sum(model([image for image, _ in batch], [target for _, target in batch]).values())
        if not torch.isfinite(loss):
            raise SystemExit(f"the loss is {loss.item()} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images += len(batch)
        if step % 20 == 0:
            print(f"step {step}, {budget.used:.0f} s, loss {loss.item():.3f}", flush=True)
        if budget.is_over:
            break
    budget.pause()
    torch.save(model.state_dict(), Path(job["folder"]) / "weights.pt")
    detections = []
    model.eval()
    with torch.inference_mode():
        for example in val:
            found = model([v2.functional.to_dtype(load(example)[0], torch.float32, scale=True)])[0]
            detections += coco_results(example.id, found["boxes"], found["scores"], found["labels"].numpy() - 1, category_ids)
    write_result(
        job,
        detections,
        version=torchvision.__version__,
        seconds=budget.used,
        images=images,
        parameters=sum(one.numel() for one in model.parameters()),
        input=recipe["input"],
        batch=batch_size,
    )


if __name__ == "__main__":
    main()
