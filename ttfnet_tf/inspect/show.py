"""`ttfnet data show`: pages of the target microscope for chosen images, as PNG files and in TensorBoard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf import build
from ttfnet_tf.config import Config, SplitConfig
from ttfnet_tf.data.balance import balance_of
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_bytes
from ttfnet_tf.inspect.microscope import Microscope, choose_images
from ttfnet_tf.outputs import marked_png, refuse_to_overwrite
from ttfnet_tf.tensorboard.events import EventLog

_WRITER = "ttfnet data show"


def microscope_of(config: Config, split, *, mixes: bool = True) -> Microscope | None:
    """The microscope for a split with the settings of a run; None for a method with targets of another kind.

    `mixes` is that of `build.augmentation_of`.
    """
    method = build.method_of(config, split.num_classes)
    if method.target_settings is None:
        return None
    return Microscope(
        split,
        image_size=config.data.size,
        keep_ratio=config.data.keep_ratio,
        paint=method.paint,
        # The assignment of cells does not depend on their weight.
        targets={key: value for key, value in method.target_settings.items() if key != "weight"},
        augmentation=build.augmentation_of(config, mixes=mixes),
        seed=config.train.seed,
        balance=balance_of(split, config.data.class_balance, config.train.seed),
    )


def show_targets(
    config: Config,
    paths: tuple[str, str],
    *,
    ids: Sequence[int] | None,
    count: int,
    epochs: Sequence[int],
    out: str | Path | None,
    log_dir: str | Path | None,
    overwrite: bool = False,
) -> list[str]:
    """Draws the pages; returns the lines to print.

    Args:
        config: settings of the detector; its `data.train` paths are ignored.
        paths: annotation file and folder of the images.
        ids: image ids, or None for `count` images spread over the file.
        count: see `ids`.
        epochs: to show the augmentation of.
        out: folder of the pages <image id>.png, if wanted; pages of an earlier call are replaced.
        log_dir: folder for TensorBoard, if wanted: a page of each image, and its augmented views with the epoch as step.
        overwrite: also replaces files that are no such pages.

    Raises:
        UserError: the data cannot be read, an id is not in it, or a folder cannot be written.
    """
    train = SplitConfig(annotations=str(paths[0]), images=str(paths[1]))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train=train))
    split = build.load_split(config, "train")
    microscope = microscope_of(config, split)
    if microscope is None:
        raise UserError(f"model.method={config.model.method} has targets of another kind, which the microscope cannot show")
    settings = {"method": config.model.method, **build.method_of(config, split.num_classes).target_settings}
    note = ", ".join(f"{key} {value}" for key, value in settings.items()) + f"; seed {config.train.seed}"
    chosen = choose_images(split, ids, count)
    pages = {index: Path(out) / f"{split.images.shown_name(index)}.png" for index in chosen} if out else {}
    for index, file in pages.items():
        refuse_to_overwrite(
            file,
            _WRITER,
            inputs=[split.images[index].path],
            overwrite=overwrite,
            hint="name another folder with --out, or add --overwrite",
        )
    log = EventLog(Path(log_dir)) if log_dir else None
    lines = [split.summary()]
    for index in chosen:
        name = f"image_{split.images.shown_name(index)}"
        page = microscope.page(index, epochs, note)
        if out:
            write_bytes(pages[index], marked_png(_WRITER, cv2.imencode(".png", np.ascontiguousarray(page[..., ::-1]))[1].tobytes()))
            lines.append(f"written: {pages[index]}")
        if log is not None:
            log.images(0, {f"microscope/{name}": page})
            pixels = microscope.read(index)
            for epoch in sorted(epochs):  # steps of one name must ascend
                view = microscope.augmented(index, epoch, pixels)
                log.images(epoch, {f"augmented/{name}": microscope.overview(view)})
    if log is not None:
        log.close()
        lines.append(f"written: {log_dir}; view it with: tensorboard --logdir {log_dir}")
    return lines
