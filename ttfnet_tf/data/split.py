"""Splits a data set by a seed: training, validation and test parts or folds, stratified by class, copies of an image in one part.

Works on the content of COCO files; nothing is read or written here.

Reference: iterative stratification (Sechidis et al. 2011), with groups of images in place of single ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

VALIDATION = 0.15  # fraction of the images
LEAST_VALIDATION = 20  # images, as long as they are no more than a third of all
MOST_VALIDATION = 1000  # images: more take time and hardly change the AP


def validation_fraction(num_images: int) -> float:
    """The fraction of a data set, 0..1, that makes a good validation set: 15 %, 20 to 1000 images, at most a third."""
    wanted = min(max(VALIDATION * num_images, LEAST_VALIDATION), MOST_VALIDATION)
    return min(wanted, num_images / 3) / max(num_images, 1)


def split_content(
    content: Mapping[str, Any], fractions: Sequence[float], *, seed: int = 0, copies: Iterable[tuple[int, int]] = ()
) -> list[dict[str, Any]]:
    """Parts of a COCO data set; each has all categories, and keeps the order and the ids of images and annotations.

    Args:
        content: of a COCO instances file that was checked, see `data.coco_file.read_content`.
        fractions: of the images in each part, such as [0.85, 0.15]; k equal ones make folds.
        seed: another one makes another split.
        copies: pairs of image ids that belong together.
    """
    part_of = assign_parts(content, fractions, seed=seed, copies=copies)
    return [subset(content, [image for image, its_part in part_of.items() if its_part == part]) for part in range(len(fractions))]


def subset(content: Mapping[str, Any], image_ids: Iterable[int]) -> dict[str, Any]:
    """The content with only these images and their annotations."""
    chosen = set(image_ids)
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] in chosen],
        "annotations": [one for one in content.get("annotations", []) if one["image_id"] in chosen],
    }


def assign_parts(
    content: Mapping[str, Any], fractions: Sequence[float], *, seed: int = 0, copies: Iterable[tuple[int, int]] = ()
) -> dict[int, int]:
    """The part of each image: image id -> position in `fractions`; arguments as of `split_content`.

    Classes are served from the rarest to the most frequent: each image of a class goes to the part that lacks the most images of it.

    Raises:
        ValueError: a fraction is not above 0, or their sum is not 1.
    """
    if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must be above 0 with the sum 1, received {list(fractions)}")
    image_ids = [image["id"] for image in content["images"]]
    classes_of: dict[int, set[int]] = {image: set() for image in image_ids}
    for annotation in content.get("annotations", []):
        classes_of[annotation["image_id"]].add(annotation["category_id"])
    groups = _groups(image_ids, copies)
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    groups = sorted((groups[place] for place in order), key=len, reverse=True)  # large ones first, while every part has room
    counts = [Counter(one for image in group for one in classes_of[image]) for group in groups]

    groups_of_class = defaultdict(list)
    for number, count in enumerate(counts):
        for category in count:
            groups_of_class[category].append(number)
    total = sum(counts, Counter())
    lacking = {category: [fraction * total[category] for fraction in fractions] for category in total}  # images of each part
    room = [fraction * len(image_ids) for fraction in fractions]
    part_of_group: dict[int, int] = {}

    def place(number: int, wanted: Sequence[float]) -> None:
        best = max(range(len(fractions)), key=lambda part: (round(wanted[part], 6), round(room[part], 6), -part))
        part_of_group[number] = best
        room[best] -= len(groups[number])
        for category, count in counts[number].items():
            lacking[category][best] -= count

    for category in sorted(total, key=lambda category: (total[category], category)):
        for number in groups_of_class[category]:
            if number not in part_of_group:
                place(number, lacking[category])
    for number in range(len(groups)):  # images without an object
        if number not in part_of_group:
            place(number, room)
    return {image: part for number, part in sorted(part_of_group.items()) for image in groups[number]}


def _groups(image_ids: Sequence[int], pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Images that belong together, directly or by others between them, in the order of the first of each group."""
    above = {image: image for image in image_ids}

    def root(image: int) -> int:
        while above[image] != image:
            above[image] = image = above[above[image]]
        return image

    for one, other in pairs:
        above[root(other)] = root(one)
    members = defaultdict(list)
    for image in image_ids:
        members[root(image)].append(image)
    return list(members.values())
