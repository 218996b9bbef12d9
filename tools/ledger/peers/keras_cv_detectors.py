"""Trains keras-cv's RetinaNet and YOLOv8 as its guide to object detection does: batch 4, its augmentations, a constant rate.

The backbones are built layer by layer, because presets fetch even their settings from the network.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
from job import MOST, SCORE, Budget, coco_results, orders, read_examples, read_job, write_result
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import keras_cv
import tensorflow as tf

from ttfnet_tf.keras2 import keras

BATCH = 4
SIDE = 640  # of the guide


def build(name: str, classes: int):
    """A compiled detector with random weights."""
    common = {"num_classes": classes, "bounding_box_format": "xyxy"}
    nms = {"bounding_box_format": "xyxy", "confidence_threshold": SCORE, "max_detections": MOST}
    if name == "retinanet":
        backbone = keras_cv.models.ResNetV2Backbone(
            stackwise_filters=[64, 128, 256, 512],
            stackwise_blocks=[2, 2, 2, 2],
            stackwise_strides=[1, 2, 2, 2],
            block_type="basic_block",
            include_rescaling=True,
        )
        decoder = keras_cv.layers.NonMaxSuppression(from_logits=True, **nms)
        model = keras_cv.models.RetinaNet(backbone=backbone, prediction_decoder=decoder, **common)
        optimizer = keras.optimizers.SGD(learning_rate=0.005, momentum=0.9, global_clipnorm=10.0)
        model.compile(classification_loss="focal", box_loss="smoothl1", optimizer=optimizer, jit_compile=False)
    else:
        backbone = keras_cv.models.YOLOV8Backbone(
            stackwise_channels=[32, 64, 128, 256], stackwise_depth=[1, 2, 2, 1], include_rescaling=True
        )
        decoder = keras_cv.layers.NonMaxSuppression(from_logits=False, iou_threshold=0.7, **nms)
        model = keras_cv.models.YOLOV8Detector(backbone=backbone, fpn_depth=1, prediction_decoder=decoder, **common)
        optimizer = keras.optimizers.Adam(learning_rate=0.001, global_clipnorm=10.0)
        model.compile(classification_loss="binary_crossentropy", box_loss="ciou", optimizer=optimizer, jit_compile=False)
    return model


def load(example) -> np.ndarray:
    """uint8 [H, W, 3] RGB."""
    with Image.open(example.path) as file:
        return np.asarray(file.convert("RGB"))


def batches(examples, side: int, seed: int) -> tf.data.Dataset:
    """Augmented batches without end."""

    most = max(len(example.boxes) for example in examples)

    def read():
        for order in orders(len(examples), 1, seed):
            example = examples[order[0]]
            yield {
                "images": load(example).astype(np.float32),
                "bounding_boxes": {"boxes": example.boxes, "classes": example.labels.astype(np.float32)},
            }

    signature = {
        "images": tf.TensorSpec([None, None, 3]),
        "bounding_boxes": {"boxes": tf.TensorSpec([None, 4]), "classes": tf.TensorSpec([None])},
    }
    augmenter = keras.Sequential(
        [
            keras_cv.layers.RandomFlip(mode="horizontal", bounding_box_format="xyxy", seed=seed),
            keras_cv.layers.JitteredResize(target_size=(side, side), scale_factor=(0.75, 1.3), bounding_box_format="xyxy", seed=seed),
        ]
    )
    data = tf.data.Dataset.from_generator(read, output_signature=signature).ragged_batch(BATCH, drop_remainder=True)
    data = data.map(lambda batch: augmenter(batch, training=True), num_parallel_calls=tf.data.AUTOTUNE)
    return data.map(
        lambda batch: (batch["images"], keras_cv.bounding_box.to_dense(batch["bounding_boxes"], max_boxes=most)),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(2)


class Until(keras.callbacks.Callback):
    """Ends training with the budget."""

    def __init__(self, budget: Budget):
        super().__init__()
        self.budget, self.steps = budget, 0

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self.budget.start()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step."""
        self.steps += 1
        if self.steps % 10 == 0:
            print(f"step {self.steps}, {self.budget.used:.0f} s, {logs}", flush=True)
        if self.budget.is_over:
            self.model.stop_training = True


def detect(model, examples, side: int, category_ids: list[int]) -> list[dict]:
    """Detections on images that are resized to fit the input and padded, as the guide does for inference."""
    resizing = keras_cv.layers.Resizing(side, side, pad_to_aspect_ratio=True, bounding_box_format="xyxy")
    detections = []
    for example in examples:
        image = load(example).astype(np.float32)
        found = model.predict(resizing(image)[None], verbose=0)
        count = int(found["num_detections"][0])
        scale = min(side / image.shape[0], side / image.shape[1])
        boxes = np.asarray(found["boxes"][0][:count]) / scale
        boxes = np.clip(boxes, 0, [image.shape[1], image.shape[0]] * 2)
        detections += coco_results(example.id, boxes, found["confidence"][0][:count], found["classes"][0][:count], category_ids)
    return detections


def main() -> None:
    """One run."""
    job = read_job()
    keras.utils.set_random_seed(job["seed"])
    side = job["size"][0] if job["size"] else SIDE
    train, category_ids, _ = read_examples(job["train"], training=True)
    val, _, _ = read_examples(job["val"], training=False)
    model = build(job["settings"]["model"], len(category_ids))
    budget = Budget(60 * job["minutes"])
    until = Until(budget)
    model.fit(batches(train, side, job["seed"]), steps_per_epoch=10**6, epochs=1, verbose=0, callbacks=[until])
    budget.pause()
    write_result(
        job,
        detect(model, val, side, category_ids),
        version=metadata.version("keras-cv"),
        seconds=budget.used,
        images=BATCH * until.steps,
        parameters=int(model.count_params()),
        input=f"{side}x{side}",
        batch=BATCH,
    )


if __name__ == "__main__":
    main()
