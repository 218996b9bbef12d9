"""Data sets as services, tools and other systems write them; and values that no tool writes."""

import json
import shutil
import unicodedata

import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.convert import convert

NAMES = ("a", "b")
LINE = "1 0.3 0.5 0.4 0.2\n"  # of 100 x 50 pixels: x 10..50, y 20..30
BOX = [10, 20, 40, 10]
XML = """<?xml version="1.0" encoding="{}"?>
<annotation><filename>p.png</filename><size><width>100</width><height>50</height></size>
<object><name>猫</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>30</ymax></bndbox></object></annotation>
"""


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (100, 50)).save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def yolo(folder, *splits, data_yaml="names: [a, b]\ntrain: ../train/images\nval: ../valid/images\ntest: ../test/images\n"):
    for split in splits:
        for number in range(2):
            image(folder / split / "images" / f"{split}{number}.png")
            write(folder / split / "labels" / f"{split}{number}.txt", LINE)
    write(folder / "data.yaml", data_yaml)
    return folder


def converted(source, **options):
    """({split: {file name: boxes}}, printed lines)"""
    out = source.with_name(f"{source.name}-out")
    report = convert(source, out, **options)
    found = {}
    for path in report.files:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {one["id"]: one["file_name"] for one in content["images"]}
        found[path.stem] = {name: [] for name in names.values()}
        for one in content["annotations"]:
            found[path.stem][names[one["image_id"]]].append(one["bbox"])
    return found, report.lines


@pytest.mark.parametrize("written", [("train", "valid"), ("train",), ("train", "valid", "test")])
def test_a_split_that_is_named_and_not_written_is_skipped_with_a_note(tmp_path, written):
    found, lines = converted(yolo(tmp_path / "set", *written))
    assert list(found) == [{"valid": "val"}.get(name, name) for name in written]
    skipped = {"val": "../valid/images", "test": "../test/images"}
    notes = [
        f"1 split is skipped, because its images are not there: {name} ({place})" for name, place in skipped.items() if name not in found
    ]
    assert [line for line in lines if "is skipped" in line] == notes


def test_an_empty_split_is_skipped_and_the_training_split_is_not(tmp_path):
    (tmp_path / "set/test/images").mkdir(parents=True)
    found, lines = converted(yolo(tmp_path / "set", "train", "valid"))
    assert list(found) == ["train", "val"]
    assert any("is skipped" in line for line in lines)
    with pytest.raises(UserError, match=r"data\.yaml:2: train is \.\./train/images, but there is no "):
        converted(yolo(tmp_path / "other", "valid"))
    with pytest.raises(UserError, match=r"data\.yaml:4: test is \.\./test/images, but there is no "):
        converted(yolo(tmp_path / "third", "train"), split="test")


def test_paths_that_begin_with_the_folder_of_the_set(tmp_path):
    text = "names: [a, b]\ntrain: proj-1/train/images\nval: proj-1/valid/images\n"
    found, _ = converted(yolo(tmp_path / "proj-1", "train", "valid", data_yaml=text))
    assert [len(images) for images in found.values()] == [2, 2]


def shadows(folder):
    for path in list(folder.rglob("*")):
        if path.is_file():
            write(path.with_name(f"._{path.name}"), b"\0\5\x16\7\0\2\0\0Mac OS X")


def test_the_shadows_of_a_mac_are_no_files_of_the_set(tmp_path):
    source = yolo(tmp_path / "yolo", "train", "valid")
    shadows(source)
    assert [len(images) for images in converted(source)[0].values()] == [2, 2]
    voc = tmp_path / "voc"
    image(voc / "JPEGImages/p.png")
    write(voc / "Annotations/p.xml", XML.format("utf-8"))
    shadows(voc)
    assert converted(voc)[0] == {"train": {"p.png": [BOX]}}
    table = tmp_path / "csv"
    image(table / "train/p.png")
    write(table / "train/_annotations.csv", "filename,class,xmin,ymin,xmax,ymax\np.png,a,10,20,50,30\n")
    shadows(table)
    assert converted(table)[0] == {"train": {"p.png": [BOX]}}
    coco = tmp_path / "coco"
    shutil.copytree(tmp_path / "csv-out", coco)
    image(coco / "train/p.png")
    (coco / "converted.json").unlink()
    shadows(coco)
    convert(coco, tmp_path / "coco-out")
    assert (tmp_path / "coco-out/labels/train/p.txt").is_file()


@pytest.mark.parametrize("names", [("train/_annotations.csv", "valid/_annotations.csv"), ("train_labels.csv", "val_labels.csv")])
def test_a_folder_of_tables(tmp_path, names):
    folder = tmp_path / "set"
    for name in names:
        image((folder / name).parent / "p.png")
        write(folder / name, b"\xef\xbb\xbffilename,width,height,class,xmin,ymin,xmax,ymax\r\np.png,100,50,a,10,20,50,30\r\n")
    write(folder / "classes.csv", "a,0\n")
    assert converted(folder)[0] == {"train": {"p.png": [BOX]}, "val": {"p.png": [BOX]}}
    convert(folder, tmp_path / "one", split="val")
    assert sorted(path.name for path in (tmp_path / "one/annotations").iterdir()) == ["val.json"]


def test_two_tables_of_one_split_are_refused(tmp_path):
    for name in ("train_1.csv", "train_2.csv"):
        write(tmp_path / "set" / name, "p.png,10,20,50,30,a\n")
    with pytest.raises(UserError, match=r"train_2\.csv: is split 'train' by its name, as .*train_1\.csv is; name one of them as SOURCE"):
        converted(tmp_path / "set")


@pytest.mark.parametrize("codec", ["gbk", "GB2312", "gb18030", "big5", "shift_jis", "euc-jp", "utf-8", "utf-16"])
def test_xml_in_the_encoding_that_it_declares(tmp_path, codec):
    folder = tmp_path / "voc"
    image(folder / "p.png")
    text = XML.format(codec)
    if codec in ("shift_jis", "euc-jp", "big5", "GB2312"):
        text = text.replace("猫", "犬")  # a letter that they all have
    write(folder / "p.xml", text.encode(codec))
    assert converted(folder)[0] == {"train": {"p.png": [BOX]}}
    content = json.loads((tmp_path / "voc-out/annotations/train.json").read_text(encoding="utf-8"))
    assert content["categories"][0]["name"] in ("猫", "犬")


@pytest.mark.parametrize("codec", ["punycode", "idna", "unicode_escape", "rot13", "zlib", "no-such-codec"])
def test_an_encoding_that_no_annotation_has_is_one_line(tmp_path, codec):
    folder = tmp_path / "voc"
    image(folder / "p.png")
    write(folder / "p.xml", XML.format(codec).replace("猫", "cat"))
    with pytest.raises(UserError, match=r"p\.xml:1: is not "):
        converted(folder)


def test_byte_order_marks(tmp_path):
    source = yolo(tmp_path / "set", "train", data_yaml="")
    (source / "data.yaml").unlink()
    write(source / "classes.txt", b"\xef\xbb\xbfa\r\nb\r\n")
    _, lines = converted(source)
    assert "2 classes: 0 a, 1 b" in lines
    table = tmp_path / "csv"
    image(table / "p.png")
    write(table / "train.csv", "filename\tclass\txmin\tymin\txmax\tymax\np.png\ta\t10\t20\t50\t30\n".encode("utf-16"))
    assert converted(table)[0] == {"train": {"p.png": [BOX]}}
    text = (tmp_path / "csv-out/annotations/train.json").read_bytes()
    write(table / "coco.json", b"\xef\xbb\xbf" + text)
    convert(table / "coco.json", tmp_path / "again")
    assert (tmp_path / "again/labels/coco/p.txt").read_text()


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_the_same(tmp_path, on_disk, written):
    """A Mac decomposes the letters of file names, other systems do not."""
    name = "café été"
    file, stated = unicodedata.normalize(on_disk, name), unicodedata.normalize(written, name)
    folder = tmp_path / "yolo"
    image(folder / "images/train" / f"{file}.png")
    write(folder / "labels/train" / f"{stated}.txt", LINE)
    write(folder / "data.yaml", "names: [a, b]\ntrain: images/train\n")
    found, lines = converted(folder)
    assert found == {"train": {f"{file}.png": [BOX]}}
    assert not any("without a label file" in line for line in lines)

    table = tmp_path / "csv"
    image(table / f"{file}.png")
    write(table / "train.csv", f"filename,class,xmin,ymin,xmax,ymax\n{stated}.png,a,10,20,50,30\n")
    assert converted(table)[0] == {"train": {f"{file}.png": [BOX]}}

    voc = tmp_path / "voc"
    image(voc / f"{file}.png")
    write(voc / f"{stated}.xml", XML.format("utf-8"))
    assert converted(voc)[0] == {"train": {f"{file}.png": [BOX]}}

    coco = tmp_path / "coco"
    image(coco / f"{file}.png")
    content = json.loads((tmp_path / "csv-out/annotations/train.json").read_text(encoding="utf-8"))
    content["images"][0]["file_name"] = f"{stated}.png"
    write(coco / "train.json", json.dumps(content))
    convert(coco, tmp_path / "coco-out")
    assert (tmp_path / "coco-out/images/train" / f"{file}.png").is_file()


HEADER = "filename,class,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("p.png,a,-1e308,-1e308,1e308,1e308", "set.csv:2: xmin is '-1e308', not a number (3 more problems"),
        ("p.png,a,1,1,inf,2", "set.csv:2: xmax is 'inf', not a number"),
        (f"p.png,a,1,1,{'9' * 5000},2", "not a number"),
        (f"{'x' * 300}.png,a,1,1,2,2", "has no size, and the image does not give one"),
        ("a\0b.png,a,1,1,2,2", "set.csv:2: has a NUL byte"),
    ],
)
def test_values_that_no_tool_writes_are_one_line(tmp_path, rows, line):
    image(tmp_path / "p.png")
    write(tmp_path / "set.csv", HEADER + rows + "\n")
    with pytest.raises(UserError) as caught:
        converted(tmp_path / "set.csv")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stated_size_does_not_save_a_name_that_no_file_can_have(tmp_path):
    write(tmp_path / "set.csv", f"filename,width,height,class,xmin,ymin,xmax,ymax\n{'x' * 300}.png,100,50,a,1,1,2,2\n")
    with pytest.raises(UserError, match=r"an image has a name that is longer than a file name can be: \"x+\.\.\.; fix it"):
        converted(tmp_path / "set.csv")


def test_a_class_that_is_a_number_of_thousands_of_digits_is_a_name(tmp_path):
    image(tmp_path / "p.png")
    write(tmp_path / "set.csv", f"{HEADER}p.png,{'9' * 5000},1,1,2,2\n")
    assert converted(tmp_path / "set.csv")[1][1] == f"1 classes: 1 {'9' * 60}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 3000, "is nested too deep for a data.yaml"),
        ("names: [a]\n" + "# " + "x" * 5_000_000, "is larger than a data.yaml can be"),
        ("names: {1: a, 99999999999999999999: b}\ntrain: x", ":1: names must be a list, or a map from numbers to names"),
        ("? [a, b]\n: c\nnames: [a]", ""),
    ],
    ids=["deep", "large", "number", "key"],
)
def test_a_data_yaml_that_no_tool_writes_is_one_line(tmp_path, text, line):
    source = yolo(tmp_path / "set", "train", data_yaml=text)
    with pytest.raises(UserError) as caught:
        converted(source)
    assert line in str(caught.value)


def test_dates_and_octal_numbers_in_a_data_yaml_are_texts(tmp_path):
    source = yolo(tmp_path / "set", "train", data_yaml="names: [a, b]\nnc: 2\nversion: 2024-13-45\ndownload: 0012\ntrain: train/images\n")
    assert len(converted(source)[0]["train"]) == 2
