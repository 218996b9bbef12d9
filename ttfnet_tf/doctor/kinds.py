"""Every kind of finding: how bad it is, what training does about it, and what to do.

An error stops training or makes it, or its metrics, wrong; a warning costs something, such as dropped boxes; a note is good to know.
The effects are what `data.coco`, `data.pipeline` and `evaluate` do under the given settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: one of `SEVERITIES`.
        what: the things that are counted.
        effect: what training does about them.
        advice: what to do about them; empty where nothing needs to be done.
        validation: what evaluation does about them in a validation file; None if `effect` holds there too.
        under: {(setting, value): (severity, effect)} of a training file under that setting, instead of the above; in a validation file
            too where `validation` is None.
    """

    severity: str
    what: str
    effect: str
    advice: str = ""
    validation: str | None = None
    under: dict[tuple[str, object], tuple[str, str]] = field(default_factory=dict)


_STOPS = "training stops while reading the file"
_STOPS_AT_START = "training stops before the first step"
_STOPS_LATER = "training stops when it reads the image"
_DROPPED = "dropped: their objects become background"
_NEVER_FOUND = "kept as objects that are never found"
_REMOVE = "--fix removes them"
_REDRAW = "redraw them, or let --fix remove them"
_AS_THEY_ARE = "trained on as they are"
_EVALUATED = "evaluated like others"
_SKIPPED: dict[tuple[str, object], tuple[str, str]] = {
    ("broken_images", "skip"): ("warning", "skipped and counted (data.broken_images=skip)")
}
_REPLACE_FILE = "replace the file, let --fix drop the image, or set data.broken_images=skip"

_FILE = {
    "not-json": Kind("error", "files that are not JSON", _STOPS, "export the annotations again"),
    "not-coco": Kind(
        "error",
        "JSON files that are not COCO instances files",
        _STOPS,
        "name a COCO instances file; detections and captions are other files",
    ),
    "section-missing": Kind("error", "missing lists 'images', 'annotations' or 'categories'", _STOPS, "name a COCO instances file"),
    "section-empty": Kind("error", "empty lists 'images' or 'categories'", _STOPS, "export the annotations again"),
    "entry-malformed": Kind("error", "entries that are not objects", _STOPS, _REMOVE),
    "nothing-to-use": Kind(
        "error",
        "files without an image to train on",
        _STOPS_AT_START,
        "the other findings say why images are dropped; see data.min_image_size and data.empty_images too",
    ),
}
_IDS = {
    "id-not-integer": Kind("error", "entries without an integer id", _STOPS, "--fix gives them new ids"),
    "category-id-twice": Kind("error", "repeated category ids", _STOPS, "give each category its own id; --fix removes exact repeats"),
    "image-id-twice": Kind("error", "repeated image ids", _STOPS, "--fix removes repeats, and both images if their files differ"),
    "annotation-id-twice": Kind("error", "repeated annotation ids", _STOPS, "--fix gives them new ids"),
    "image-id-negative": Kind("error", "negative image ids", _STOPS, "--fix gives them new ids"),
    "reference-not-integer": Kind(
        "error", 'annotations whose image or category id is text or decimal, such as "4" and 4.0', _STOPS, "--fix makes them integers"
    ),
    "image-id-unknown": Kind("error", "annotations of an image that is not in 'images'", _STOPS, "add the image, or let --fix remove them"),
    "category-id-unknown": Kind(
        "error", "annotations of a category that is not in 'categories'", _STOPS, "add the category, or let --fix remove them"
    ),
    "annotation-id-zero": Kind("note", "annotations with id 0", "get another id in memory, because COCOeval reads 0 as 'no match'"),
    "category-ids-gap": Kind("note", "gaps between category ids", "none: class k is the k-th id in ascending order"),
    "category-without-name": Kind("error", "categories without a name", _STOPS, "name them; --fix names them 'category <id>'"),
    "category-name-unprintable": Kind(
        "warning",
        "category names with line breaks or other control characters",
        "shown with blanks in their place, in labels.txt, too",
        "--fix puts blanks in their place",
    ),
    "category-name-twice": Kind(
        "warning", "repeated category names", "each id is a class of its own", "merge the categories, or rename one of them"
    ),
    "file-name-twice": Kind(
        "warning",
        "repeated file names",
        "each entry is an image of its own: the boxes of one are background in the other",
        "--fix merges the entries of one file",
        validation="each entry is an image of its own: detections of the other's objects count as wrong",
    ),
}
_IMAGE_ENTRIES = {
    "image-without-file": Kind("error", "images without a file_name", _STOPS, "name the files, or let --fix drop these images"),
    "image-without-size": Kind("error", "images without width and height in pixels", _STOPS, "--fix takes the size from the file"),
    "image-small": Kind(
        "warning", "images with a side below data.min_image_size", "dropped from training", "lower data.min_image_size to train on them"
    ),
    "image-without-boxes": Kind(
        "note",
        "images without an annotation",
        "dropped from training (data.empty_images=drop)",
        "data.empty_images=keep trains on them as background",
        validation="every detection on them counts as wrong",
        under={("empty_images", "keep"): ("note", "trained on as background (data.empty_images=keep)")},
    ),
    "image-without-usable-box": Kind(
        "note",
        "images whose annotations are all dropped",
        "dropped from training (data.empty_images=drop)",
        "the findings about boxes say why",
        under={("empty_images", "keep"): ("warning", "trained on as background, objects included (data.empty_images=keep)")},
    ),
}
_BOXES = {
    "box-in-another-form": Kind(
        "error",
        "annotations whose box is text, or stands in their polygon or mask only",
        _STOPS,
        "--fix writes it as four numbers: those of the text, or the extent of the polygon or mask",
    ),
    "box-malformed": Kind("error", "boxes that are not four numbers", _STOPS, _REDRAW),
    "box-not-finite": Kind("error", "boxes with NaN or infinite numbers", _STOPS, _REDRAW),
    "area-malformed": Kind("error", "areas that are not finite numbers", _STOPS, "--fix sets them to width x height"),
    "crowd-malformed": Kind(
        "error",
        "values of iscrowd and ignore other than 0, 1, true or false",
        _STOPS,
        "--fix reads texts such as '0' and 'true', and takes other values for 1: what such boxes hold is not trained on",
    ),
    "boxes-relative": Kind(
        "error",
        "boxes as fractions of the image instead of pixels: all of their file, or those inside its first pixel",
        "read as pixels: too small, so they are dropped, and training stops if no box is left",
        "--fix converts them to pixels",
    ),
    "boxes-as-corners": Kind(
        "error",
        "boxes as x1, y1, x2, y2 instead of x, y, width, height",
        "read as x, y, width, height: every box is too large",
        "--fix converts them to x, y, width, height",
    ),
    "box-zero": Kind("warning", "boxes with a side of 0", _DROPPED, _REDRAW, validation=_NEVER_FOUND),
    "box-negative": Kind(
        "warning", "boxes with a negative side", _DROPPED, _REDRAW, validation=_NEVER_FOUND + ", unless their area is negative too"
    ),
    "area-zero": Kind(
        "warning",
        "sound boxes with an area of 0 or less",
        _DROPPED,
        "--fix sets the area to width x height",
        validation="evaluated as small objects (area 0) or ignored (area below 0)",
    ),
    "area-too-large": Kind(
        "warning",
        "areas larger than their box",
        "none: training computes the area from the sides",
        "--fix sets the area to width x height",
        validation="APs, APm and APl sort objects by this area",
    ),
    "area-missing": Kind("note", "annotations without area", "width x height is used"),
    "box-outside": Kind("warning", "boxes outside their image", _DROPPED, _REDRAW, validation=_NEVER_FOUND),
    "box-partly-outside": Kind(
        "warning",
        "boxes that reach more than half a pixel beyond their image",
        "clipped to the image after resizing",
        "--fix clips them",
        validation="kept as they are, while detections are clipped: the IoU stays below 1",
    ),
    "box-below-minimum": Kind(
        "warning",
        "boxes with a side below data.min_box_size",
        _DROPPED,
        "lower data.min_box_size to train on them",
        validation="kept as objects, which a detector that was never trained on such boxes rarely finds",
    ),
    "box-below-pixel": Kind(
        "warning",
        "boxes with a side below one input pixel after resizing",
        "trained on, but hardly detectable",
        "raise data.image_size",
        validation=_EVALUATED + ", but hardly detectable",
    ),
    "box-below-cell": Kind(
        "note",
        "boxes with a side below one cell (4 input pixels) after resizing",
        "trained on; neighbours may share their cells",
        "raise data.image_size if they matter",
        validation=_EVALUATED,
    ),
    "box-aspect": Kind(
        "warning",
        "boxes more than 50 times as long as wide",
        _AS_THEY_ARE,
        "look at some: a coordinate may be wrong",
        validation=_EVALUATED,
    ),
    "box-whole-image": Kind(
        "note", "boxes of the whole image", _AS_THEY_ARE, "look at some: they may be placeholders", validation=_EVALUATED
    ),
    "box-twice": Kind(
        "warning",
        "boxes repeated with the same class",
        "one object: they have the same peak and the same cells",
        "--fix removes the repeats",
        validation="several objects, of which one is found",
    ),
    "box-two-classes": Kind(
        "warning",
        "boxes repeated with another class",
        "a peak in each class, one box for both",
        "delete the wrong one, unless both classes are meant",
        validation="an object of each class",
        under={("box_per_class", True): ("warning", "a peak and a box in each class (model.box_per_class=true)")},
    ),
    "box-crowd": Kind(
        "note",
        "crowd boxes",
        "background (data.crowd=background)",
        validation="detections inside them count neither as correct nor as wrong",
        under={("crowd", "object"): ("warning", "trained on as single objects (data.crowd=object), but evaluated as crowds")},
    ),
    "box-ignore": Kind(
        "note",
        "boxes marked ignore",
        _DROPPED,
        validation="evaluated as ordinary objects: COCOeval reads 'ignore' from iscrowd alone",
    ),
}
_CLASSES = {
    "category-unused": Kind(
        "warning",
        "categories without an annotation",
        "a class without an example: its AP is 0 if validation has objects of it",
        "remove the category, or add examples",
    ),
    "class-without-usable-box": Kind(
        "warning",
        "categories whose boxes are all dropped",
        "a class without an example: its objects become background",
        "the findings about boxes say why",
    ),
    "class-without-validation": Kind(
        "warning", "categories with training boxes but no validation box", "no AP for them (-1)", "move some of their images to validation"
    ),
    "class-imbalance": Kind(
        "note",
        "classes with less than a hundredth of the boxes of the largest",
        "every box counts the same: these classes are learned late",
        "collect more examples of them",
    ),
    "categories-differ": Kind(
        "error",
        "validation categories that differ from the training ones in id or name",
        _STOPS_AT_START,
        "give both files the same categories",
    ),
}
_IMAGE_FILES = {
    "image-missing": Kind(
        "error",
        "missing image files",
        _STOPS_AT_START,
        "check the folder of the images, let --fix drop these images, or set data.broken_images=skip",
        under={("broken_images", "skip"): ("warning", "skipped and counted (data.broken_images=skip), unless all are missing")},
    ),
    "image-misnamed": Kind(
        "error",
        "image files that lie there under nearly the same name",
        _STOPS_AT_START,
        "--fix writes the names of the files",
        under={("broken_images", "skip"): ("warning", "skipped and counted (data.broken_images=skip), unless all are missing")},
    ),
    "image-empty": Kind("error", "image files of 0 bytes", _STOPS_LATER, _REPLACE_FILE, under=_SKIPPED),
    "image-truncated": Kind("error", "truncated image files", _STOPS_LATER, _REPLACE_FILE, under=_SKIPPED),
    "image-broken": Kind("error", "files that are not readable images", _STOPS_LATER, _REPLACE_FILE, under=_SKIPPED),
    "unused-image-unreadable": Kind("note", "missing or broken files of images that are dropped anyway", "none: they are not opened"),
    "size-differs": Kind(
        "error",
        "image files of another size than annotated",
        "boxes are read as pixels of the file: wrong if they were drawn on another size",
        "--fix scales the boxes of a resized file, corrects a wrong size if all boxes fit, and drops the other images",
    ),
    "exif-turned": Kind(
        "error",
        "images that EXIF rotates, with boxes that are not rotated",
        "the image is rotated and its boxes are not: they miss their objects",
        "--fix rotates the boxes",
    ),
    "exif-ambiguous": Kind(
        "warning",
        "images that EXIF turns upside down or mirrors",
        "turned as EXIF says; right only if the boxes were drawn on the upright image",
        "look at one with ttfnet data show",
    ),
    "exif-applied": Kind("note", "images that EXIF rotates, annotated as rotated", "rotated as EXIF says, as the boxes expect"),
    "image-grey": Kind("note", "grey images", "become RGB with three equal channels"),
    "image-cmyk": Kind("note", "CMYK images", "become RGB without a colour profile"),
    "image-16-bit": Kind("note", "images of 16 bits a channel", "keep the upper 8 bits"),
    "image-alpha": Kind("note", "images with an alpha channel", "lose it: colours of transparent pixels show"),
    "image-animated": Kind("note", "images of several frames", "the first frame is used"),
    "image-suffix": Kind("note", "images whose suffix names another format", "read by content, whatever the name"),
}
_COPIES = {
    "image-twice": Kind(
        "warning",
        "exact copies of another image of the file",
        "trained on more often; a box that only one copy has is background in the other",
        "--fix drops copies with the same boxes",
        validation="counted more often",
    ),
    "image-similar": Kind(
        "warning",
        "near-duplicates of another image of the file",
        "trained on more often",
        "keep one of them, unless both are meant",
        validation="counted more often",
    ),
    "leak": Kind(
        "error",
        "training images that are exact copies of a validation image",
        "trained on: the AP measures memory",
        "--fix drops them from training",
    ),
    "leak-similar": Kind(
        "warning",
        "training images that are near-duplicates of a validation image",
        "trained on: the AP may measure memory",
        "look at some; keep all frames of a scene in one split",
    ),
}
KINDS: dict[str, Kind] = {**_FILE, **_IDS, **_IMAGE_ENTRIES, **_BOXES, **_CLASSES, **_IMAGE_FILES, **_COPIES}
