"""Class-balanced sampling, in NumPy: images with rare classes are seen more often, the others less, and an epoch stays as long as it is.

The repeat factor of an image is the largest max(1, sqrt(t / f)) of its classes, f being the fraction of the images with that class (Gupta
et al. 2019, LVIS, arXiv:1908.03195). Factors are scaled to a mean of 1. In each epoch an image with the factor 2.3 is there 2 or 3 times,
2.3 times on average: entry k of an epoch is the image in whose stretch of the cumulated factors the number k + u lies, where u is one
random number of the epoch. So which images an epoch has is a function of (seed, epoch), as their order is.
"""

from __future__ import annotations

import functools

import numpy as np

from ttfnet_tf.data.annotated_images import AnnotatedImages
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.transforms import image_rng


def class_factors(images: AnnotatedImages, num_classes: int, threshold: float) -> np.ndarray:
    """float64 [C]: max(1, sqrt(threshold / fraction of the images with the class)); 1 for a class that no image has."""
    of_image = np.repeat(np.arange(len(images)), images.counts)
    pairs = np.unique(np.stack([of_image, images.labels]), axis=1)
    fractions = np.bincount(pairs[1], minlength=num_classes) / len(images)
    return np.maximum(1.0, np.sqrt(threshold / np.where(fractions > 0, fractions, np.inf)))


def image_factors(images: AnnotatedImages, of_class: np.ndarray) -> np.ndarray:
    """float64 [I]: the largest factor of an image's classes, 1 without one; scaled to a mean of 1."""
    factors = np.ones(len(images))
    np.maximum.at(factors, np.repeat(np.arange(len(images)), images.counts), of_class[images.labels])
    return factors * (len(images) / factors.sum())


class ClassBalance:
    """Which image an entry of an epoch is.

    Args:
        factors: [I] with a mean of 1, how often each image is seen in an epoch.
        seed: of the run.

    Attributes:
        starts, ends: float64 [I], the stretch of each image among the cumulated factors.
        seed: of the run.
    """

    def __init__(self, factors: np.ndarray, seed: int):
        self.ends, self.seed = np.cumsum(factors, dtype=np.float64), seed
        self.ends[-1] = len(factors)  # exactly
        self.starts = np.concatenate([[0.0], self.ends[:-1]])

    def image(self, epoch: int, entry: int) -> int:
        """The image of one entry; `order.balanced` does the same for many."""
        return int(np.searchsorted(self.ends, entry + _offset(self.seed, epoch, len(self.ends)), side="right"))


@functools.lru_cache(maxsize=64)
def _offset(seed: int, epoch: int, count: int) -> float:
    """The random number of an epoch, of the generator that comes after those of its images."""
    return image_rng(seed, epoch, count).random()


def balance_of(split: CocoSplit, threshold: float, seed: int) -> ClassBalance | None:
    """The sampling of a training split; None for a threshold of 0, with which every image is seen once an epoch."""
    if not threshold:
        return None
    return ClassBalance(image_factors(split.images, class_factors(split.images, split.num_classes, threshold)), seed)


def describe_balance(split: CocoSplit, threshold: float) -> str:
    """A line about what a threshold does with a split."""
    of_class = class_factors(split.images, split.num_classes, threshold)
    if of_class.max() == 1:
        return f"data.class_balance={threshold:g} changes nothing: every class is in at least this fraction of the images"
    factors, rarest = image_factors(split.images, of_class), split.class_names[int(of_class.argmax())]
    return (
        f"data.class_balance={threshold:g}: images are seen {factors.min():.2g} to {factors.max():.2g} times an epoch, "
        f"those with {rarest} most often"
    )
