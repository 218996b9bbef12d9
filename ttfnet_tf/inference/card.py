"""What is read of a model card has the right types, whoever wrote the file."""

from __future__ import annotations

from typing import Any

from ttfnet_tf.json_text import is_integer, is_number


def checked_card(card: Any) -> dict[str, Any]:
    """The content of a model card, if what is read of it has the right types.

    Raises:
        ValueError: it is no model card.
    """
    if not isinstance(card, dict):
        raise ValueError("is no object")
    classes, size, training = card.get("classes"), card.get("image_size"), card.get("training")
    if not isinstance(classes, list) or not classes or not all(isinstance(one, dict) for one in classes):
        raise ValueError("has no list of classes")
    if not all(isinstance(one.get("name"), str) and is_integer(one.get("category_id")) for one in classes):
        raise ValueError("has a class without name or id")
    if not isinstance(size, list) or len(size) != 2 or not all(is_integer(side) and side > 0 for side in size):
        raise ValueError("has no image_size")
    if card.get("resize", "stretch") not in ("stretch", "letterbox"):
        raise ValueError("has an unknown resize")
    if not is_number(card.get("score_threshold")) or not is_integer(card.get("top_k")):
        raise ValueError("has no score_threshold or top_k")
    if not isinstance(card.get("config"), dict) or not isinstance(training, dict) or not is_integer(training.get("step")):
        raise ValueError("has no config or training")
    return card
