"""A run of a small network that detects something in noise, and image files of every kind, for tests of exported models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf.config import load_config

SETTINGS = """
data: {image_size: [64, 96]}
model: {neck_channels: [8, 8, 8], shortcut: [1, 1, 1], heatmap_head: {width: 8, depth: 1}, box_head: {width: 8, depth: 1}}
decode: {top_k: 20, score_threshold: 0.2}
optim: {ema_decay: 0.9}
export: {max_pixels: 90000}
"""


def write_run(folder: Path, seed: int = 5, overrides: Sequence[str] = ()) -> Path:
    """Writes a work directory whose averaged weights differ from its plain ones; needs `networks.narrow`.

    Args:
        folder: of the run.
        seed: of its weights; another seed gives other detections.
        overrides: of its settings.
    """
    from ttfnet_tf import build
    from ttfnet_tf.models.parameters import named_parameters
    from ttfnet_tf.runs.checkpoint import CheckpointStore
    from ttfnet_tf.runs.moving_average import MovingAverage
    from ttfnet_tf.runs.run_folder import Labels, RunFolder

    settings = folder.parent / f"{folder.name}.yaml"
    settings.write_text(SETTINGS)
    config = load_config(settings, overrides)
    run = RunFolder(folder, config, Labels(("cat", "dog", "bird"), (3, 8, 90)))
    model = build.model_of(config, 3)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "gamma" in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name.startswith("bbox_head.hm.1/kernel"):
            variable.assign(rng.normal(0.0, 12.0, variable.shape))
        elif variable.name.startswith("bbox_head.wh.1/kernel"):
            variable.assign(rng.normal(0.0, 60.0, variable.shape))
        elif variable.name.startswith("bbox_head.hm.1/bias"):
            variable.assign([-4.0, -4.0, -4.0])
    for layer in model.submodules:
        if layer.name == "conv_offset_mask":
            layer.kernel.assign(rng.normal(0.0, 0.2, layer.kernel.shape))
    average = MovingAverage(named_parameters(model, trainable_only=True), 0.9)
    average.reset()
    for variable in model.trainable_variables:
        variable.assign(variable * 1.5)
    CheckpointStore(folder / "checkpoints", {"model": model, "average": average}, keep=1).save(7)
    run.append_metrics({"step": 7, "epoch": 1, "AP": 0.25, "AP50": 0.5, "AR1": 0.125})
    return folder


def image_files() -> dict[str, bytes]:
    """Name -> bytes of images of every kind that both decoders read alike."""
    rng = np.random.default_rng(1)

    def pixels(height, width, channels=3):
        cells = rng.integers(0, 256, (1 + height // 8, 1 + width // 8, channels), np.uint8)
        return cv2.resize(cells, (width, height)).reshape(height, width, channels)

    def encode(suffix, image):
        return cv2.imencode(suffix, image)[1].tobytes()

    jpeg = encode(".jpg", pixels(80, 120))
    # APP1: EXIF in Motorola order, one entry: orientation (0x0112, SHORT, 1 value) 6, a quarter turn clockwise.
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    return {
        "colour.jpg": encode(".jpg", pixels(150, 101)),
        "colour.png": encode(".png", pixels(33, 47)),
        "grey.jpg": encode(".jpg", pixels(64, 96, 1)),
        "grey.png": encode(".png", pixels(200, 90, 1)),
        "alpha.png": encode(".png", pixels(70, 70, 4)),
        "deep.png": encode(".png", pixels(40, 60).astype(np.uint16) * 257),
        "turned.jpg": jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:],
        "pixel.png": encode(".png", pixels(1, 1)),
    }
