"""Pascal VOC: corners, flags, layouts, and the line that each mistake gives."""

import json

import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.convert import convert
from ttfnet_tf.formats.records import Problems
from ttfnet_tf.formats.voc_reader import read_voc

XML = """<annotation>
  <folder>VOC2007</folder>
  <filename>000007.jpg</filename>
  <size><width>500</width><height>333</height><depth>3</depth></size>
  <object>
    <name>dog</name>
    <pose>Left</pose>
    <truncated>1</truncated>
    <difficult>0</difficult>
    <bndbox><xmin>141</xmin><ymin>50</ymin><xmax>500</xmax><ymax>330</ymax></bndbox>
    <part>
      <name>head</name>
      <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
    </part>
  </object>
  <object>
    <name>cat</name>
    <pose>Unspecified</pose>
    <difficult>1</difficult>
    <bndbox><ymax>1</ymax><xmax>1</xmax><ymin>1</ymin><xmin>1.0</xmin></bndbox>
  </object>
</annotation>
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "voc").mkdir()
    return tmp_path / "voc"


def _read(folder, **options):
    problems = Problems()
    return read_voc(folder, problems=problems, **options), problems.lines


def _image(path, height=20, width=30, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path, **options)


def _xml(path, name="a", filename=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{filename}</filename><size><width>30</width><height>20</height></size><object><name>{name}</name>"
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object></annotation>"
    )


def test_corners_count_from_1_and_include_the_last_pixel(folder, tmp_path):
    (folder / "000007.xml").write_text(XML)
    report = convert(folder, tmp_path / "out")
    content = json.loads((tmp_path / "out/annotations/train.json").read_text())
    assert content["images"] == [{"id": 7, "file_name": "000007.jpg", "height": 333, "width": 500}]
    assert content["categories"] == [{"id": 1, "name": "cat", "supercategory": ""}, {"id": 2, "name": "dog", "supercategory": ""}]
    first, second = content["annotations"]
    # Pixels 141..500 of 1..500 are the edges 140..500: 360 wide. The last column of the image is covered, none beyond it.
    assert first == {
        "id": 1,
        "image_id": 7,
        "category_id": 2,
        "bbox": [140, 49, 360, 281],
        "area": 360 * 281,
        "iscrowd": 0,
        "truncated": 1,
        "pose": "Left",
    }
    assert second == {
        "id": 2,
        "image_id": 7,
        "category_id": 1,
        "bbox": [0, 0, 1, 1],
        "area": 1,
        "iscrowd": 1,
        "difficult": 1,
    }
    assert "1 difficult objects are marked as crowd: training drops them, evaluation does not require them" in report.lines
    assert "1 images not found; their names and sizes are those of the XML files" in report.lines


def test_class_order_can_be_given(folder):
    (folder / "a.xml").write_text(XML)
    data, _ = _read(folder, classes=["horse", "dog", "cat"])
    assert [(c.id, c.name) for c in data.categories] == [(1, "horse"), (2, "dog"), (3, "cat")]
    _, lines = _read(folder, classes=["dog"])
    assert lines == [f"{folder}/a.xml:17: class 'cat' is not in --classes dog"]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size></size>"])
def test_sizes_come_from_images_where_the_file_has_none(folder, size):
    (folder / "a.xml").write_text(f"<annotation>{size}</annotation>")
    _image(folder / "a.jpg")
    data, lines = _read(folder)
    assert lines == []
    assert data.splits[0].images[0].size == (20, 30)


def test_a_quarter_turn_of_exif_turns_the_size(folder):
    exif = Image.Exif()
    exif[274] = 6
    _image(folder / "a.jpg", exif=exif)
    (folder / "a.xml").write_text("<annotation></annotation>")
    assert _read(folder)[0].splits[0].images[0].size == (30, 20)


def _images(data):
    return {split.name: [(e.id, e.path.relative_to(split.root).as_posix()) for e in split.images] for split in data.splits}


def test_devkit_with_lists(folder):
    for year, stems in (("VOC2007", ("000005", "000009")), ("VOC2012", ("2008_000002",))):
        for stem in stems:
            _xml(folder / year / "Annotations" / f"{stem}.xml", filename=f"{stem}.jpg")
            _image(folder / year / "JPEGImages" / f"{stem}.jpg")
    lists = folder / "VOC2007/ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("000009\n")
    (lists / "val.txt").write_text("000005 \n\n")
    (lists / "trainval.txt").write_text("000005\n000009\n")
    (lists / "dog_train.txt").write_text("000009 -1\n000005  1\n")
    data, lines = _read(folder / "VOC2007")
    assert lines == []
    assert _images(data) == {
        "train": [(9, "000009.jpg")],
        "val": [(5, "000005.jpg")],
        "trainval": [(5, "000005.jpg"), (9, "000009.jpg")],
    }
    assert {split.root for split in data.splits} == {folder / "VOC2007/JPEGImages"}

    other = folder / "VOC2012/ImageSets/Main"
    other.mkdir(parents=True)
    (other / "trainval.txt").write_text("2008_000002\n")
    data, _ = _read(folder, split="trainval")
    expected = [
        (5, "VOC2007/JPEGImages/000005.jpg"),
        (9, "VOC2007/JPEGImages/000009.jpg"),
        (2008000002, "VOC2012/JPEGImages/2008_000002.jpg"),
    ]
    assert _images(data) == {"trainval": expected}
    with pytest.raises(UserError, match="has no split 'test'; there are train, val, trainval"):
        _read(folder, split="test")

    (lists / "train.txt").write_text("000009\n000010\n")
    _, lines = _read(folder / "VOC2007", split="train")
    assert lines == [f"{lists}/train.txt:2: names 000010, but there is no {folder}/VOC2007/Annotations/000010.xml"]


def test_year_without_lists_and_images_elsewhere(folder, tmp_path):
    _xml(folder / "Annotations/b.xml", filename="b.jpg")
    _image(tmp_path / "images/b.jpg")
    data, _ = _read(folder, images=tmp_path / "images", split="val")
    assert _images(data) == {"val": [(1, "b.jpg")]}
    assert data.splits[0].root == tmp_path / "images"


def test_folders_of_splits_with_images_beside_the_files(folder):
    for split in ("train", "valid", "test"):
        _xml(folder / split / "1.xml", filename="1.png")
        _image(folder / split / "1.png")
    data, _ = _read(folder)
    assert _images(data) == {"train": [(1, "1.png")], "val": [(1, "1.png")], "test": [(1, "1.png")]}
    assert [split.root.name for split in data.splits] == ["train", "valid", "test"]
    assert [split.name for split in _read(folder, split="valid")[0].splits] == ["val"]


def test_an_image_is_found_by_the_name_of_its_file_then_by_the_stated_one(folder):
    _xml(folder / "xml/a.xml", filename="b.jpg")  # stale: the image was renamed
    _xml(folder / "xml/c.xml", filename="D:\\images\\d.jpg")
    for name in ("a", "b", "d"):
        _image(folder / "images" / f"{name}.jpg")
    data, _ = _read(folder)
    assert _images(data) == {"train": [(1, "a.jpg"), (2, "d.jpg")]}
    assert data.notes["images without an XML file are skipped"] == 1


def test_two_files_about_one_image(folder):
    for name in ("a", "b"):
        _xml(folder / f"{name}.xml", filename="p.jpg")
    _image(folder / "p.jpg")
    data, lines = _read(folder)
    assert lines == [f"{folder}/b.xml: is about p.jpg, as {folder}/a.xml is"]
    assert len(data.splits[0].images) == 1


def test_boxes_that_begin_at_0_are_kept_and_reported(folder, tmp_path):
    _xml(folder / "a.xml")
    (folder / "a.xml").write_text((folder / "a.xml").read_text().replace("<xmin>1<", "<xmin>0<"))
    report = convert(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out/annotations/train.json").read_text())["annotations"][0]["bbox"] == [-1, 0, 3, 2]
    assert "1 boxes begin at pixel 0, but VOC counts from 1: they reach 1 px beyond their image" in report.lines


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>\n<annotation>&y;</annotation>'
MISTAKES = [
    ("", "1: is not well-formed XML (no element found)"),
    (XML.replace("</object>", "", 1), "22: is not well-formed XML (mismatched tag)"),
    (XML[:300], "10: is not well-formed XML (unclosed token)"),
    ("<html>\n</html>", "1: is not a VOC annotation: its root is <html>, not <annotation>"),
    (BOMB, "1: declares the entity 'x', which no annotation needs"),
    ("<annotation>\n&nbsp;</annotation>", "2: is not well-formed XML (undefined entity)"),
    (XML.replace("<name>dog</name>", ""), "5: object has no name"),
    (XML.replace("141", "left"), "10: xmin of object 'dog' is 'left', not a number"),
    (XML.replace("141", "nan"), "10: xmin of object 'dog' is 'nan', not a number"),
    (XML.replace("<xmin>141</xmin>", ""), "10: xmin of object 'dog' is missing"),
    (XML.replace("<xmax>500", "<xmax>140"), "10: xmax 140 of object 'dog' lies before xmin 141"),
    (XML.replace("<bndbox><ymax>1</ymax><xmax>1</xmax><ymin>1</ymin><xmin>1.0</xmin></bndbox>", ""), "16: object 'cat' has no bndbox"),
    (XML.replace("333", "tall"), "4: size 500 x tall is not in pixels"),
    (XML.replace("333", "33.5"), "4: size 500 x 33.5 is not in pixels"),
    (XML.replace("333", "0"), "4: size 500 x 0 is not in pixels"),
    (XML.replace("<size><width>500</width><height>333</height><depth>3</depth></size>", ""),
     "1: has no size, and its image was not found; name its folder with --images"),
    ("<?xml version='1.0' encoding='klingon'?><annotation/>", "1: is not readable XML (unknown encoding: klingon)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), MISTAKES)
def test_mistakes_name_file_and_line(folder, text, line):
    _xml(folder / "good.xml")
    (folder / "bad.xml").write_text(text)
    data, lines = _read(folder)
    assert lines == [f"{folder}/bad.xml:{line}"]
    assert [image.path.name for image in data.splits[0].images] == ["good.jpg"]


def test_no_size_and_a_damaged_image(folder):
    (folder / "a.xml").write_text("<annotation/>")
    (folder / "a.jpg").write_text("no image")
    assert _read(folder)[1] == [f"{folder}/a.xml:1: has no size, and its image does not give one: {folder}/a.jpg: is not a readable image"]
