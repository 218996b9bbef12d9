"""The images behind URLs: a file, a folder with all below it, or a pattern such as s3://bucket/photos/**/*.jpg."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.image_files import Sources
from ttfnet_tf.locations import file_system, is_url, location
from ttfnet_tf.web import is_web, without_password


def find_all(sources: Sequence[str], find_local: Callable[[Sequence[str]], Sources]) -> Sources:
    """The images of paths and URLs, the paths first.

    Args:
        sources: as the user named them.
        find_local: `image_files.find_images`.

    Raises:
        UserError: a store cannot be read, or there is nothing at a URL.
    """
    urls = [source for source in sources if is_url(source)]
    local = [source for source in sources if not is_url(source)]
    found = find_local(local) if local else Sources()
    images: dict = dict.fromkeys(found.images)
    for url in urls:
        images.update(dict.fromkeys(_images_at(url)))
    found.images = list(images)
    return found


def _images_at(url: str) -> list:
    """Names in a folder or pattern decide by their suffix: a look into each of millions of objects would take days."""
    if is_web(url):
        if without_password(url) != url:  # the list of images is a file, which workers read
            raise UserError(f"{without_password(url)}: its password would be written into the list of images; leave out --runner")
        return [url]
    try:
        if glob.has_magic(url):
            protocol = url.partition("://")[0]
            names = sorted(f"{protocol}://{name.lstrip('/')}" for name in file_system(url).glob(url))
        else:
            remote = location(url)
            if isinstance(remote, Path) or remote.is_file():
                return [url]
            names = [f"{remote.url}/{name}" for name in sorted(remote.files())]
    except OSError as error:
        raise UserError(f"{url}: cannot be read ({error.strerror or error})") from None
    images = [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise UserError(f"{url}: no image there by its name")
    return images
