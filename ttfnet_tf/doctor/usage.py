"""Checks what training has to work with: images that are dropped, and classes without or with few boxes."""

from __future__ import annotations

from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.doctor.inventory import Inventory

IMBALANCE = 100  # boxes of the largest class over those of another


def check_image_use(inventory: Inventory, findings: Findings, settings: Settings) -> None:
    """Adds the images of a training file that are dropped, and whether none is left."""
    for image in inventory.images:
        about = {"file": image.file, "image_id": image.id}
        if min(image.size) < settings.min_image_size:
            image.used = False
            findings.add("image-small", "images", image.position, **about, detail=f"is {image.size_text}")
        elif not image.annotations:
            image.used = settings.empty_images == "keep"
            findings.add("image-without-boxes", "images", image.position, **about)
        elif not image.usable and not image.faulty:
            image.used = settings.empty_images == "keep"
            findings.add("image-without-usable-box", "images", image.position, **about, detail=f"{image.annotations} annotations")
    if not any(image.used for image in inventory.images):
        findings.add("nothing-to-use", detail="every image is dropped")


def check_empty_images(inventory: Inventory, findings: Findings) -> None:
    """Adds the images of a validation file that have no annotation."""
    for image in inventory.images:
        if not image.annotations:
            findings.add("image-without-boxes", "images", image.position, file=image.file, image_id=image.id)


def check_classes(inventory: Inventory, findings: Findings) -> None:
    """Adds classes without a box, and those with few."""
    for identity, name in inventory.categories.items():
        declared = inventory.declared[identity]
        if not declared:
            findings.add("category-unused", "categories", detail=f"'{name}' (category id {identity})")
        elif not inventory.boxes[identity]:
            detail = f"'{name}' (category id {identity}): {declared} annotations, all dropped"
            findings.add("class-without-usable-box", "categories", detail=detail)
    if inventory.boxes:
        largest, most = inventory.boxes.most_common(1)[0]
        for identity, count in sorted(inventory.boxes.items(), key=lambda pair: pair[1]):
            if count * IMBALANCE < most:
                detail = f"'{inventory.categories[identity]}' has {count}, '{inventory.categories[largest]}' {most}"
                findings.add("class-imbalance", "categories", detail=detail)
