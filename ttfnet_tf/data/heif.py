"""HEIC images, where pillow-heif is installed."""

from __future__ import annotations

from typing import Any

from ttfnet_tf.errors import UserError


def can_read_heif() -> bool:
    """Whether the package is installed."""
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True


def heif_decoder(name: str) -> Any:
    """The class of Pillow's images that reads HEIC files, and turns them as they say.

    Args:
        name: of the image, for the message.

    Raises:
        UserError: the package is not installed.
    """
    if not can_read_heif():
        what = "is a HEIC image, which needs pillow-heif"
        raise UserError(f"{name}: {what}; pip install 'ttfnet-tf[heic]', or convert it to JPEG or PNG")
    import pillow_heif

    return pillow_heif.HeifImageFile
