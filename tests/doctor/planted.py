"""A small clean data set, and one function for each kind of finding that plants it and nothing else."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
IMAGE_SIZE = (256, 256)
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "fox"}]
BOXES = ([30, 20, 20, 15], [34, 6, 25, 30], [8, 26, 40, 20])  # px, one of each class in every image


def pixels(seed, height=HEIGHT, width=WIDTH):
    """Smooth random colours, uint8 [H, W, 3]: no two seeds look alike."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@dataclass
class DataSet:
    """Files in a folder, and annotations that are written when it is checked."""

    folder: Path
    train: dict = field(default_factory=dict)
    val: dict = field(default_factory=dict)
    text: str | None = None  # instead of the training annotations

    def __post_init__(self):
        (self.folder / "images").mkdir(parents=True)

    def file(self, name):
        return self.folder / "images" / name

    def add_image(self, content, identity, *, boxes=BOXES, size=(HEIGHT, WIDTH), name=None, save=True):
        """An entry with one box of each class, and its file; returns the entry."""
        entry = {"id": identity, "file_name": name or f"{identity}.png", "width": size[1], "height": size[0], "extra": identity}
        content["images"].append(entry)
        if save:
            Image.fromarray(pixels(identity, *size)).save(self.file(entry["file_name"]))
        for category, box in enumerate(boxes, start=1):
            self.add_box(content, identity, category, box)
        return entry

    def add_box(self, content, image, category, box):
        area = box[2] * box[3]
        identity = 1 + max([0, *(one["id"] for one in content["annotations"] if isinstance(one["id"], int))])
        one = {"id": identity, "image_id": image, "category_id": category, "bbox": list(box), "area": area, "iscrowd": 0, "more": [1]}
        content["annotations"].append(one)
        return one

    def image(self, k):
        """The k-th training entry."""
        return self.train["images"][k]

    def boxes(self, k):
        """The annotations of the k-th training entry; in their own class each."""
        return [one for one in self.train["annotations"] if one["image_id"] == self.image(k)["id"]]

    def write(self):
        """(training, validation) as `check_data` takes them."""
        for name, content in (("train", self.train), ("val", self.val)):
            (self.folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        if self.text is not None:
            (self.folder / "train.json").write_text(self.text, encoding="utf-8")
        return tuple((self.folder / f"{name}.json", self.folder / "images") for name in ("train", "val"))


def clean(folder, images=4):
    """`images` training images with ids from 101 on and two validation images with ids 1 and 2."""
    data = DataSet(folder)
    for content, ids in ((data.train, range(101, 101 + images)), (data.val, (1, 2))):
        content.update(info={"year": 2020}, images=[], annotations=[], categories=copy.deepcopy(CATEGORIES))
        for identity in ids:
            data.add_image(content, identity)
    return data


# What is planted: functions of (data set, position of a training image that may be spoiled, number that is free for ids).


def box(**keys):
    """Other keys for the first box of the image; None takes a key out."""

    def plant(data, k, free):
        one = data.boxes(k)[0]
        one.update(keys)
        for key in [key for key, value in keys.items() if value is None]:
            del one[key]

    return plant


def image(**keys):
    def plant(data, k, free):
        data.image(k).update(keys)
        for key in [key for key, value in keys.items() if value is None]:
            del data.image(k)[key]

    return plant


def large(*boxes):
    """One more image of 640 x 480 px, where things get small by resizing."""
    return lambda data, k, free: data.add_image(data.train, free, boxes=boxes, size=(480, 640))


def file(name, write, size=(HEIGHT, WIDTH)):
    """Another file for the image: `write(path, pixels)`."""

    def plant(data, k, free):
        entry = data.image(k)
        entry.update(file_name=f"{free}{name}", height=size[0], width=size[1])
        write(data.file(entry["file_name"]), pixels(entry["id"]))

    return plant


def saved(mode="RGB", orientation=None, **options):
    def write(path, colours):
        if orientation:
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = orientation
        Image.fromarray(colours).convert(mode).save(path, **options)

    return write


def content(data, text):
    data.text = text


def again(data, k, free, **keys):
    """A second annotation like the first of the image."""
    data.train["annotations"].append({**data.boxes(k)[0], "id": free, **keys})


def copied(quality=None, to="train"):
    """The image once more under another name, byte for byte or saved again."""

    def plant(data, k, free):
        entry = data.image(k)
        name = f"{free}.png" if quality is None else f"{free}.jpg"
        data.add_image(getattr(data, to), free, name=name, save=False)
        if quality is None:
            data.file(name).write_bytes(data.file(entry["file_name"]).read_bytes())
        else:
            Image.fromarray(pixels(entry["id"])).resize((96, 72), Image.Resampling.BICUBIC).save(data.file(name), quality=quality)
            getattr(data, to)["images"][-1].update(width=96, height=72)

    return plant


def in_both(change):
    def plant(data, k, free):
        for one in (data.train, data.val):
            change(one, free)

    return plant


def _gap(one, free):
    one["categories"][2]["id"] = 5
    for annotation in one["annotations"]:
        annotation["category_id"] = 5 if annotation["category_id"] == 3 else annotation["category_id"]


def _unused(one, free):
    one["categories"].append({"id": 4, "name": f"class {free}"})


def _crowds(data, k, free):
    for one in data.boxes(k):
        one["iscrowd"] = 1


def _only_crowds(data, k, free):
    for one in data.train["annotations"]:
        one["iscrowd"] = int(one["category_id"] == 3)


def _other_format(change):
    def plant(data, k, free):
        for one in data.train["annotations"]:
            one["bbox"] = change(*one["bbox"])

    return plant


def _without_boxes(data, k, free):
    data.add_image(data.train, free, boxes=())


def _unused_and_missing(data, k, free):
    data.add_image(data.train, free, boxes=(), save=False)


def _file_again(data, k, free):
    entry = data.image(k)
    data.add_image(data.train, free, name=entry["file_name"], save=False, boxes=([5, 5, 20, 20],))


def _negative(data, k, free):
    for one in data.boxes(k):
        one["image_id"] = -free
    data.image(k)["id"] = -free


def _many_of_one_class(data, k, free):
    for number in range(405):
        data.add_box(data.train, data.image(k)["id"], 1, [number % 40, number // 40, 12, 13])


def _section(name, value):
    def plant(data, k, free):
        data.train[name] = value

    return plant


def _append(name, entry):
    return lambda data, k, free: data.train[name].append(entry)


def _deep(path, colours):
    cv2.imwrite(str(path), colours.astype(np.uint16) * 257)


def _cut(path, colours):
    Image.fromarray(colours).save(path, quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def _frames(path, colours):
    Image.fromarray(colours).save(path, save_all=True, append_images=[Image.fromarray(255 - colours)])


def _without_third_class(data, k, free):
    data.val["annotations"] = [one for one in data.val["annotations"] if one["category_id"] != 3]


def _other_name(data, k, free):
    data.val["categories"][1]["name"] = "wolf"


# Plants that concern a file as a whole: they cannot stand in one set with the others.
WHOLE = {
    "not-json": lambda data, k, free: content(data, '{"images": ['),
    "not-coco": lambda data, k, free: content(data, "[1]"),
    "section-missing": _section("categories", {"1": "cat"}),
    "section-empty": _section("images", []),
    "nothing-to-use": _section("annotations", []),
    "boxes-relative": _other_format(lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]),
    "boxes-as-corners": _other_format(lambda x, y, w, h: [x, y, x + w, y + h]),
    "class-without-usable-box": _only_crowds,
    "class-without-validation": _without_third_class,
    "class-imbalance": _many_of_one_class,
    "categories-differ": _other_name,
    "category-without-name": in_both(lambda one, free: one["categories"][2].update(name="")),
    "category-name-twice": in_both(lambda one, free: one["categories"][2].update(name="dog")),
    "category-name-unprintable": in_both(lambda one, free: one["categories"][2].update(name="red\nfox")),
}
PLANTS = {
    "entry-malformed": _append("images", 3),
    "id-not-integer": box(id="a7"),
    "category-id-twice": _append("categories", {"id": 1, "name": "cat"}),
    "image-id-twice": lambda data, k, free: data.train["images"].append(dict(data.image(k))),
    "annotation-id-twice": lambda data, k, free: data.boxes(k)[1].update(id=data.boxes(k)[0]["id"]),
    "image-id-negative": _negative,
    "reference-not-integer": box(category_id="1"),
    "image-id-unknown": lambda data, k, free: data.boxes(k)[0].update(image_id=free),
    "category-id-unknown": box(category_id=77),
    "annotation-id-zero": box(id=0),
    "file-name-twice": _file_again,
    "image-without-file": image(file_name=None),
    "image-without-size": image(width=0),
    "image-small": lambda data, k, free: data.add_image(data.train, free, boxes=([2, 2, 14, 16],), size=(24, 40)),
    "image-without-boxes": _without_boxes,
    "image-without-usable-box": _crowds,
    "box-in-another-form": box(bbox=["30", "20", "20", "15"]),
    "box-malformed": box(bbox=[1, 2, 3]),
    "box-not-finite": box(bbox=[1, 2, 3, float("nan")]),
    "area-malformed": box(area="12"),
    "crowd-malformed": box(iscrowd="0"),
    "box-zero": box(bbox=[5, 5, 0, 10]),
    "box-negative": box(bbox=[25, 5, -10, 10]),
    "area-zero": box(area=0),
    "area-too-large": box(area=5000),
    "area-missing": box(area=None),
    "box-outside": box(bbox=[70, 5, 10, 30]),
    "box-partly-outside": box(bbox=[50, 10, 20, 15]),
    "box-below-minimum": box(bbox=[5, 5, 0.5, 10]),
    "box-below-pixel": large([100, 100, 2, 40]),
    "box-below-cell": large([100, 100, 6, 40]),
    "box-aspect": large([8, 100, 625, 8]),
    "box-whole-image": box(bbox=[0, 0, WIDTH, HEIGHT]),
    "box-twice": again,
    "box-two-classes": lambda data, k, free: again(data, k, free, category_id=2),
    "box-crowd": box(iscrowd=1),
    "box-ignore": box(ignore=1),
    "category-unused": in_both(_unused),
    "image-missing": image(file_name="gone.png"),
    "image-misnamed": lambda data, k, free: data.image(k).update(file_name=data.image(k)["file_name"].upper()),
    "image-empty": file(".png", lambda path, _: path.write_bytes(b"")),
    "image-truncated": file(".jpg", _cut),
    "image-broken": file(".png", lambda path, _: path.write_bytes(b"<html>not found</html>")),
    "unused-image-unreadable": _unused_and_missing,
    "size-differs": image(width=70),
    "exif-turned": file(".jpg", saved(orientation=6)),
    "exif-ambiguous": file(".jpg", saved(orientation=3)),
    "exif-applied": lambda data, k, free: _tall(data, k, free),
    "image-grey": file(".png", saved("L")),
    "image-cmyk": file(".jpg", saved("CMYK")),
    "image-16-bit": file(".png", _deep),
    "image-alpha": file(".png", saved("RGBA")),
    "image-animated": file(".gif", _frames),
    "image-suffix": file(".jpg", saved(format="PNG")),
    "image-twice": copied(),
    "image-similar": copied(quality=70),
    "leak": copied(to="val"),
    "leak-similar": copied(quality=70, to="val"),
    "category-ids-gap": in_both(_gap),  # the last one: the others give boxes the ids 1 to 3
}
# What a plant cannot do without, and what is as true of it.
ALSO = {
    "image-without-usable-box": {"box-crowd"},
    "class-without-usable-box": {"box-crowd"},
    "unused-image-unreadable": {"image-without-boxes"},
    "nothing-to-use": {"category-unused", "image-without-boxes"},
}


def _tall(data, k, free):
    """Annotated as EXIF turns it: 48 wide, 64 high."""
    file(".jpg", saved(orientation=6), size=(WIDTH, HEIGHT))(data, k, free)
    for one, shape in zip(data.boxes(k), ([5, 20, 20, 15], [20, 6, 25, 30], [4, 26, 40, 20])):
        one.update(bbox=shape, area=shape[2] * shape[3])
