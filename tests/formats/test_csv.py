"""CSV: headers, bare columns, and the line that each mistake gives."""

import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.csv_reader import read_csv
from ttfnet_tf.formats.records import Problems

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def read(tmp_path):
    """read(text, name="boxes.csv", ...) -> (data set, lines of problems)."""

    def read(text, name="boxes.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        problems = Problems()
        return read_csv(path, problems=problems, **options), problems.lines

    return read


def _image(path, height=20, width=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path)


def _table(data):
    return [(e.path.name, e.size, [(box.label, box.bbox) for box in e.boxes]) for split in data.splits for e in split.images]


ROWS = [
    ("a.jpg", (50, 100), [("dog", (10, 20, 40, 10)), ("cat", (0, 0, 100, 50))]),
    ("b.jpg", (60, 80), [("dog", (0.5, 1, 2, 3.25))]),
]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "a.jpg,100,50,dog,10,20,50,30\nb.jpg,80,60,dog,0.5,1,2.5,4.25\na.jpg,100,50,cat,0,0,100,50\n",
        "\ufeffImage_Path;x1;y1;x2;y2;Label;Image Width;image-height\r\na.jpg;10;20;50;30;dog;100;50\r\n"
        "a.jpg;0;0;100;50;cat;100;50\r\n\r\nb.jpg;0.5;1;2.5;4.25;dog;80;60\r\n",
        "left\ttop\tright\tbottom\tname\tfile\twidth\theight\tscore\n10\t20\t50\t30\tdog\ta.jpg\t100\t50\t1\n"
        "0\t0\t100\t50\tcat\ta.jpg\t100\t50\t1\n0.5\t1\t2.5\t4.25\t dog \tb.jpg\t80\t60\t1\n",
        HEADER + '"a.jpg",100,50,"dog",10,20,50,30\na.jpg,,,cat,0,0,100,50\nb.jpg,80,60,dog,0.5,1,2.5,4.25',
    ],
)
def test_headers(read, text):
    data, lines = read(text)
    assert lines == []
    assert _table(data) == ROWS
    assert [(c.id, c.name) for c in data.categories] == [(1, "cat"), (2, "dog")]
    assert [image.id for image in data.splits[0].images] == [1, 2]
    assert data.notes["images not found; their sizes are those of the table"] == 2


def test_bare_columns_with_sizes_from_the_images(read, tmp_path):
    _image(tmp_path / "p/a.jpg")
    _image(tmp_path / "p/sub/b.jpg", height=7)
    data, lines = read("sub/b.jpg,,,,,\na.jpg,1,2,30,20,dog\na.jpg,0,0,1,1,dog\n", images=tmp_path / "p")
    assert lines == []
    assert _table(data) == [("b.jpg", (7, 30), []), ("a.jpg", (20, 30), [("dog", (1, 2, 29, 18)), ("dog", (0, 0, 1, 1))])]
    assert data.splits[0].root == tmp_path / "p"


def test_a_line_without_class_and_corners_is_an_empty_image(read):
    data, lines = read(HEADER + "a.jpg,100,50,,,,,\nb.jpg,100,50,dog,0,0,1,1\n")
    assert lines == []
    assert [len(image.boxes) for image in data.splits[0].images] == [0, 1]


def test_numbers_as_classes_are_ids_in_numeric_order(read):
    rows = "".join(f"a.jpg,9,9,{name},0,0,1,1\n" for name in ("10", "2", "0"))
    assert [(c.id, c.name) for c in read(HEADER + rows)[0].categories] == [(0, "0"), (2, "2"), (10, "10")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_labels.csv", "train"),
        ("valid.csv", "val"),
        ("test.csv", "test"),
        ("validation-boxes.csv", "val"),
        ("trainer.csv", "train"),
        ("value.csv", "train"),
    ],
)
def test_split_names(read, name, expected):
    data, _ = read(HEADER + "a.jpg,9,9,dog,0,0,1,1\n", name=name)
    assert data.splits[0].name == expected
    assert read(HEADER + "a.jpg,9,9,dog,0,0,1,1\n", name=name, split="mine")[0].splits[0].name == "mine"


MISTAKES = [
    ("a.jpg,9,9,dog,0,0,1", ["has 7 columns, the first line has 8"]),
    (",9,9,dog,0,0,1,1", ["names no image"]),
    ("a.jpg,9,9,,0,0,1,1", ["box has no class"]),
    ("a.jpg,9,9,fox,0,0,1,1", ["class 'fox' is not in --classes dog"]),
    ("a.jpg,9,9,dog,x,0,,1", ["xmin is 'x', not a number", "xmax is '', not a number"]),
    ("a.jpg,9,9,dog,inf,0,1,1", ["xmin is 'inf', not a number"]),
    ("a.jpg,9,9,dog,2,3,1,1", ["xmax 1 lies before xmin 2", "ymax 1 lies before ymin 3"]),
    ("a.jpg,9,wide,dog,0,0,1,1", ["width '9' and height 'wide' are not a size in pixels"]),
    ("a.jpg,9,,dog,0,0,1,1", ["width '9' and height '' are not a size in pixels"]),
    ("good.jpg,8,9,dog,0,0,1,1", ["good.jpg is 8 x 9 here and 9 x 9 in an earlier line"]),
]


@pytest.mark.parametrize(("row", "expected"), MISTAKES)
def test_mistakes_name_file_and_line(read, tmp_path, row, expected):
    data, lines = read(HEADER + f"good.jpg,9,9,dog,0,0,1,1\n\n{row}\nlast.jpg,9,9,dog,0,0,1,1\n", classes=["dog"])
    assert lines == [f"{tmp_path}/boxes.csv:4: {line}" for line in expected]
    kept = [] if row.startswith("good") else ["good.jpg"]
    assert [image.path.name for image in data.splits[0].images] == [*kept, "last.jpg"]


def test_an_image_that_is_needed_for_its_size(read, tmp_path):
    _, lines = read("a.jpg,1,2,30,20,dog\na.jpg,1,2,30,20,dog\n")
    reason = f"{tmp_path}/a.jpg: no such image; name the folder with --images"
    assert lines == [f"{tmp_path}/boxes.csv:1: has no size, and the image does not give one: {reason}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ": is empty"),
        ("\n\n", ": is empty"),
        (b"filename\n\xff", ":2: is not UTF-8 text"),
        ("filename,class,x,y\n", ":1: has no column xmin, ymin, xmax, ymax; expected a header like"),
        ("a,b,c,d,e,f\n", ":1: has no column filename, class, xmin, ymin, xmax, ymax; expected"),
        (HEADER + 'a.jpg,9,9,"dog,0,0,1,1\n', ":2: is not CSV (unexpected end of data)"),
        (HEADER + 'a.jpg,9,9,"d"og,0,0,1,1\n', ":2: is not CSV (',' expected after '\"')"),
    ],
)
def test_files_that_are_not_a_table(read, tmp_path, text, line):
    with pytest.raises(UserError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path}/boxes.csv{line}")
