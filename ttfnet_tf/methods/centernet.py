"""CenterNet, the baseline of the paper's Figure 1: width, height and offset in the cell of the centre, focal and L1 losses.

Its targets are TTFNet's with CornerNet's kernel and an area of one cell, so that the box of an object is known in the cell of its centre
alone; width, height and offset follow from that box.

Reference: Zhou et al., "Objects as Points", arXiv:1904.07850; xingyizhou/CenterNet a5a0483, `src/lib/models/losses.py` (`RegL1Loss`),
`decode.py` (`ctdet_decode`), `networks/resnet_dcn.py`, `src/lib/datasets/sample/ctdet.py`. What differs is in docs/deviations.md.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.initializers import bias_of_probability
from ttfnet_tf.methods import targets, targets_tf
from ttfnet_tf.methods.base import Method
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.methods.decode import scores_of, top_peaks
from ttfnet_tf.methods.heads import Size, build_head, fan_in_kernels, normal_kernels
from ttfnet_tf.methods.losses import heatmap_focal_sum, normalizers

START = 0.1  # probability of every class in every cell before training; the reference writes the bias -2.19
# Keywords of `targets.paint_targets`: a radius of 0, so the cell of the centre alone, and 1 in it.
TARGETS = {"alpha": 0.54, "area": "gaussian", "kernel": "cornernet", "beta": 0.0, "weight": "norm"}


def centernet(
    *,
    image_size: tuple[int, int],
    num_classes: int,
    box_per_class: bool = False,
    heatmap_weight: float = 1.0,
    size_weight: float = 0.1,
    offset_weight: float = 1.0,
    top_k: int = 100,
) -> Method:
    """CenterNet's targets, losses and decoding: one sample an object.

    Args:
        image_size: height and width of the input in pixels.
        num_classes: C, channels of the heatmap.
        box_per_class: whether each class has its own size in a cell.
        heatmap_weight: factor of the focal loss.
        size_weight: factor of the L1 loss of width and height, which are in cells.
        offset_weight: factor of the L1 loss of the centre's place in its cell.
        top_k: detections of an image at most.
    """
    drawn: dict[str, Any] = {**TARGETS, "box_per_class": box_per_class}
    settings: dict[str, Any] = {"image_size": image_size, "num_classes": num_classes, **drawn}
    cells = tuple(side // STRIDE for side in image_size)
    groups = num_classes if box_per_class else 1
    return Method(
        paint=functools.partial(targets.paint_targets, **settings),
        render=functools.partial(targets_tf.render_targets, **settings),
        target_shapes={"heatmap": (*cells, num_classes), "box_target": (*cells, 4 * groups), "box_weight": (*cells, groups)},
        normalizers=normalizers,
        samples=functools.partial(targets_tf.sample_counts, **settings),
        losses=functools.partial(centernet_losses, heatmap_weight=heatmap_weight, size_weight=size_weight, offset_weight=offset_weight),
        loss_names=tuple(METHODS["centernet"].losses),
        decode=functools.partial(decode_centres, image_size=image_size, top_k=top_k),
        target_settings=drawn,
    )


def centernet_heads(
    x, num_classes: int, *, heatmap_head: Size = (64, 1), box_head: Size = (64, 1), box_per_class: bool = False, seed: int = 0
) -> dict:
    """Heatmap, size of the box, and where in its cell the centre lies.

    Args:
        x: [B, h, w, D] Keras tensor.
        num_classes: channels C of the heatmap.
        heatmap_head: size of the heatmap's head.
        box_head: size of the two other heads.
        box_per_class: whether each class has its own width and height.
        seed: of the initial values.

    Returns:
        heatmap: float32 [B, h, w, C] logits.
        size: float32 [B, h, w, 2] width and height of the box in cells; with `box_per_class` [B, h, w, 2 C], channel 2 class + side.
        offset: float32 [B, h, w, 2] x and y of the centre from the cell's corner, in cells.
    """
    names = METHODS["centernet"].head_layers
    heatmap = build_head(x, heatmap_head, num_classes, names["heatmap"], fan_in_kernels(seed), bias_of_probability(START))
    outputs = {"heatmap": layers.Activation("linear", dtype="float32", name="heatmap")(heatmap)}
    for name, head, channels in (("size", "box", 2 * (num_classes if box_per_class else 1)), ("offset", "offset", 2)):
        values = build_head(x, box_head, channels, names[head], normal_kernels(0.001, seed))
        outputs[name] = layers.Activation("linear", dtype="float32", name=name)(values)
    return outputs


def centernet_losses(
    outputs: dict[str, tf.Tensor],
    maps: dict[str, tf.Tensor],
    *,
    heatmap_weight: float = 1.0,
    size_weight: float = 0.1,
    offset_weight: float = 1.0,
    num_centres: tf.Tensor | None = None,
    weight_sum: tf.Tensor | None = None,
    static_shapes: bool = False,
) -> dict[str, tf.Tensor]:
    """The training loss of a batch and its three parts.

    Args:
        outputs: "heatmap" [B, h, w, C] logits, "size" [B, h, w, 2 G] and "offset" [B, h, w, 2], both in cells.
        maps: "heatmap" [B, h, w, C], "box_target" [B, h, w, 4 G] corners in input pixels, "box_weight" [B, h, w, G]: 1 in the cells of
            centres, else 0.
        heatmap_weight, size_weight, offset_weight: factors.
        num_centres: [] what the focal sum is divided by (by 1 if 0); None counts the centres of this batch.
        weight_sum: [] number of boxes; the L1 sums are divided by its double, for each has two numbers, plus 1e-4; None counts those of
            this batch.
        static_shapes: computes every cell and adds 0 for those without a centre, which XLA can compile.

    Returns:
        "loss" [] and its parts "heatmap_loss", "size_loss", "offset_loss", with their factors.
    """
    heatmap_sum, batch_centres = heatmap_focal_sum(outputs["heatmap"], maps["heatmap"], sum_in_float64=static_shapes)
    num_centres = batch_centres if num_centres is None else num_centres
    weight_sum = tf.reduce_sum(maps["box_weight"]) if weight_sum is None else weight_sum
    grouped = tf.shape(maps["box_weight"])
    corners = tf.reshape(maps["box_target"], tf.concat([grouped, [4]], 0)) / float(STRIDE)
    size, offset = tf.reshape(outputs["size"], tf.concat([grouped, [2]], 0)), outputs["offset"]
    if static_shapes:
        is_owned = maps["box_weight"][..., None] > 0  # [B, h, w, G, 1]
        columns, rows = tf.meshgrid(tf.range(offset.shape[2]), tf.range(offset.shape[1]))
        cell, offset = tf.stack([columns, rows], axis=-1)[:, :, None], offset[:, :, :, None]
    else:
        owned = tf.where(maps["box_weight"] > 0)  # [n, 4] as image, row, column, group
        corners, size, offset = tf.gather_nd(corners, owned), tf.gather_nd(size, owned), tf.gather_nd(offset, owned[:, :3])
        is_owned, cell = True, owned[:, 2:0:-1]  # [n, 2] x, y
    size_error = tf.abs(size - (corners[..., 2:] - corners[..., :2]))
    offset_error = tf.abs(offset - ((corners[..., :2] + corners[..., 2:]) / 2.0 - tf.cast(cell, tf.float32)))
    size_sum, offset_sum = (tf.reduce_sum(tf.where(is_owned, error, 0.0)) for error in (size_error, offset_error))
    losses = {
        "heatmap_loss": heatmap_weight * heatmap_sum / tf.where(num_centres > 0, num_centres, 1.0),
        "size_loss": size_weight * size_sum / (2.0 * weight_sum + 1e-4),
        "offset_loss": offset_weight * offset_sum / (2.0 * weight_sum + 1e-4),
    }
    return {"loss": tf.add_n(list(losses.values())), **losses}


def decode_centres(outputs: dict[str, tf.Tensor], *, image_size: tuple[int, int], top_k: int = 100) -> dict[str, tf.Tensor]:
    """Takes the best peaks of each image's heatmap, with the box around each.

    Args:
        outputs: "heatmap" [B, h, w, C] logits, "size" [B, h, w, 2 G] and "offset" [B, h, w, 2] in cells; h, w, C are static.
        image_size: height H and width W of the input in pixels.
        top_k: detections of an image at most; K = min(top_k, h w C) are returned.

    Returns:
        "boxes", "scores", "classes" as `ttfnet.decode_distances`.
    """
    scores, cell, label = top_peaks(outputs["heatmap"], top_k)  # [B, K] each
    height, width, num_classes = outputs["heatmap"].shape[1:]
    cells = height * width
    per_class = outputs["size"].shape[-1] != 2
    place = cell * num_classes + label if per_class else cell
    size = tf.gather(tf.reshape(outputs["size"], [-1, cells * num_classes if per_class else cells, 2]), place, batch_dims=1)
    offset = tf.gather(tf.reshape(outputs["offset"], [-1, cells, 2]), cell, batch_dims=1)  # [B, K, 2] x, y
    corner = tf.stack([cell % width, cell // width], axis=-1)
    centre = tf.cast(corner, tf.float32) + offset
    boxes = tf.concat([centre - size / 2.0, centre + size / 2.0], axis=-1) * float(STRIDE)
    limit = tf.constant([image_size[1] - 1, image_size[0] - 1] * 2, tf.float32)
    return {"boxes": tf.clip_by_value(boxes, 0.0, limit), "scores": scores_of(scores), "classes": label}
