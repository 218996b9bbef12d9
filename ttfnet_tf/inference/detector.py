"""The Python API: `Detector` loads a trained run or an exported model and detects on images of any size."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf import build
from ttfnet_tf.data.transforms import fit
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.inference.image_like import ImageLike, as_rgb
from ttfnet_tf.inference.predictor import in_original, predict_function
from ttfnet_tf.inference.tiling import TiledDetector
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods import decode
from ttfnet_tf.runs.checkpoint import load_run


class Detector:
    """From images to named boxes in pixels of each image.

    `detector(image)` takes a file name, the bytes of an image file, a uint8 [H, W, 3] RGB array or an image of Pillow. The
    first call compiles.

    Args:
        model: see `build_model`; None with `make_predict`.
        class_names: of the heatmap's channels, in order.
        category_ids: of the same.
        decode: from the model's maps to boxes, see `methods.Method.decode`; None with `make_predict`.
        image_size: (H, W) in pixels that images are resized to.
        keep_ratio: whether they keep their ratio, as in training; see `boxes.fitted_size`.
        score_threshold: only scores above it are returned.
        class_thresholds: class name -> threshold in place of `score_threshold`.
        make_predict: from a batch size to a function like that of `predictor.predict_function`; None compiles `model` and `decode`.

    Raises:
        UserError: `class_thresholds` names a class that the model does not have.
    """

    def __init__(
        self,
        model: keras.Model | None,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        decode: Callable | None,
        *,
        image_size: tuple[int, int],
        keep_ratio: bool = False,
        score_threshold: float = 0.3,
        class_thresholds: Mapping[str, float] | None = None,
        make_predict: Callable[[int], Callable] | None = None,
    ):
        self.model, self.decode = model, decode
        self.class_names, self.category_ids = tuple(class_names), tuple(category_ids)
        self.image_size, self.keep_ratio, self.score_threshold = image_size, keep_ratio, score_threshold
        self.class_thresholds = dict(class_thresholds or {})
        for name in self.class_thresholds:
            if name not in self.class_names:
                nearest = difflib.get_close_matches(name, self.class_names, n=1, cutoff=0.0)[0]
                raise UserError(f"class threshold of {name!r}: there is no such class; did you mean {nearest!r}?")
        self._thresholds = np.array([self.class_thresholds.get(name, score_threshold) for name in self.class_names], np.float32)
        self._make_predict = make_predict or self._compile
        self._predict: dict = {}  # batch size -> compiled function

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        image_size: tuple[int, int] | None = None,
        score_threshold: float = 0.3,
        class_thresholds: Mapping[str, float] | None = None,
    ) -> Detector:
        """Loads a run (its best checkpoint, else the latest), one checkpoint of it, or an exported model.

        Args:
            run: e.g. `runs/my_run`, `runs/my_run/checkpoints/step-370`, `models/my_run`, `models/my_run/3`, a .tflite or an .onnx file.
            image_size: (H, W) in pixels that images are resized to, multiples of 32; default that of training. That of an exported model
                is fixed.
            score_threshold: only scores above it are returned; evaluation uses 0.01, for looking at images 0.3 and more is usual.
            class_thresholds: class name -> threshold in place of `score_threshold`.

        Raises:
            UserError: there is no run, checkpoint or exported model, it does not fit its settings, it was exported with a higher
                threshold or another size, or a class is not one of the model's.
        """
        exported = find_exported(run)
        thresholds: dict[str, Any] = {"score_threshold": score_threshold, "class_thresholds": class_thresholds}
        if exported:
            if image_size is not None:
                exported.check_image_size(image_size)
            least = min([score_threshold, *(class_thresholds or {}).values()])
            if least < exported.score_threshold:
                raise UserError(
                    f"{run}: holds detections with scores above {exported.score_threshold:g} only; raise the threshold, or export the run "
                    f"again with decode.score_threshold={least:g}"
                )
            return cls(
                None,
                exported.class_names,
                exported.category_ids,
                None,
                image_size=exported.image_size,
                keep_ratio=exported.keep_ratio,
                **thresholds,
                make_predict=exported.predict_function,
            )
        loaded = load_run(run, image_size=image_size)
        return cls(
            loaded.model,
            loaded.labels.class_names,
            loaded.labels.category_ids,
            build.method_of(loaded.config, len(loaded.labels.class_names)).decode,
            image_size=loaded.config.data.size,
            keep_ratio=loaded.config.data.keep_ratio,
            **thresholds,
        )

    def __call__(self, image: ImageLike) -> Detections:
        """Detects on one image.

        Raises:
            UserError: the image is missing or broken, or is no uint8 RGB array.
        """
        return self.batch([image], batch_size=1)[0]

    def batch(self, images: Sequence[ImageLike], *, batch_size: int = 8) -> list[Detections]:
        """Detects on several images, `batch_size` at a time; each may have its own size.

        Raises:
            UserError: an image is missing or broken, or is no uint8 RGB array.
        """
        results: list[Detections] = []
        for start in range(0, len(images), batch_size):
            results += self._detect([as_rgb(image) for image in images[start : start + batch_size]], batch_size)[0]
        return results

    def timed(self, images: Sequence[ImageLike], *, batch_size: int) -> tuple[list[Detections], float]:
        """Detects on up to `batch_size` images in one call, as `batch` does.

        Returns:
            The detections, and the seconds that the network and its decoding took, without reading, resizing and thresholds.
        """
        if len(images) > batch_size:
            raise ValueError(f"expected up to batch_size={batch_size} images, received {len(images)}")
        return self._detect([as_rgb(image) for image in images], batch_size)

    def tiled(self, tile: int, overlap: float = 0.2, *, max_pixels: int = MAX_PIXELS) -> TiledDetector:
        """This detector on large images, in overlapping tiles; arguments and errors as of `TiledDetector`."""
        return TiledDetector(self, tile, overlap, max_pixels=max_pixels)

    def warm_up(self, batch_size: int) -> None:
        """Compiles for calls of `batch_size` images, so that the first is as fast as the others."""
        height, width = self.image_size
        self._detect([np.zeros([height, width, 3], np.uint8)], batch_size)

    def keep_classes(self, names: Sequence[str]) -> None:
        """Drops the detections of all other classes from now on.

        Raises:
            UserError: the model has no such class.
        """
        for name in names:
            if name not in self.class_names:
                nearest = difflib.get_close_matches(name, self.class_names, n=1, cutoff=0.0)[0]
                raise UserError(f"class {name!r}: there is no such class; did you mean {nearest!r}?")
        self._thresholds[[name not in names for name in self.class_names]] = np.inf

    def lower_thresholds(self, least: float) -> dict[int, float]:
        """Also gives detections with scores above `least` from now on, for tracking.

        Returns:
            category id -> the threshold before, of the classes that are not dropped.
        """
        before = {class_id: float(value) for class_id, value in zip(self.category_ids, self._thresholds) if np.isfinite(value)}
        self._thresholds = np.where(np.isinf(self._thresholds), self._thresholds, np.minimum(self._thresholds, np.float32(least)))
        return before

    def _compile(self, batch_size: int) -> Callable:
        if self.decode is None:
            raise ValueError("expected `model` and `decode`, or `make_predict`")
        return predict_function(self.model, self.decode, image_size=self.image_size, batch_size=batch_size, weights="constants")

    def _detect(self, images: list[np.ndarray], batch_size: int) -> tuple[list[Detections], float]:
        if batch_size not in self._predict:
            self._predict[batch_size] = self._make_predict(batch_size)
        height, width = self.image_size
        batch = np.zeros((batch_size, height, width, 3), np.uint8)  # rows beyond the images stay black and are ignored
        for row, image in enumerate(images):
            batch[row] = fit(image, self.image_size, keep_ratio=self.keep_ratio)  # as in training and evaluation
        start = time.perf_counter()
        found = {name: value.numpy() for name, value in self._predict[batch_size](batch).items()}
        seconds = time.perf_counter() - start
        rows = [{name: value[row] for name, value in found.items()} for row in range(len(images))]
        return [self._detections(row, image.shape[:2]) for row, image in zip(rows, images)], seconds

    def _detections(self, found: dict[str, np.ndarray], size: Sequence[int]) -> Detections:
        """The detections of one image of `size` (height, width) that pass the thresholds, in its pixels."""
        height, width = size
        found = decode.select(found, self._thresholds[np.asarray(found["classes"], np.int64)])
        found = in_original(found, image_size=self.image_size, original_size=(height, width), keep_ratio=self.keep_ratio)
        return Detections(
            boxes=found["boxes"],
            scores=np.asarray(found["scores"], np.float32),
            class_ids=np.array([self.category_ids[index] for index in found["classes"]], np.int32),
            class_names=tuple(self.class_names[index] for index in found["classes"]),
            size=(height, width),
        )
