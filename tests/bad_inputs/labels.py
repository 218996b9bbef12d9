"""Annotations of labelling tools: labelme, CVAT, Label Studio, VIA and KITTI."""

import json

from bad_inputs.data_files import entry, raw

_FIX = "; fix it, or add --skip-broken to skip such images"
_WRONG = "; the boxes would be in wrong places"
_LABELME, _CVAT, _STUDIO, _VIA, _KITTI = (
    f"data convert {{tmp}}/{name} {{tmp}}/new --from {kind} --images {{tmp}}/images"
    for name, kind in (("a.json", "labelme"), ("a.xml", "cvat"), ("a.json", "labelstudio"), ("a.json", "via"), ("k", "kitti"))
)


def labelme(*shapes, **more):
    return raw("a.json", json.dumps({"shapes": list(shapes), "imagePath": "7.png", "imageHeight": 64, "imageWidth": 64, **more}))


def shape(points, kind="polygon", **more):
    return {"label": "cat", "points": points, "shape_type": kind, **more}


def cvat(inner, more='name="7.png" width="64" height="64"'):
    return raw("a.xml", f"<annotations>\n<image {more}>\n{inner}\n</image>\n</annotations>")


def studio(value, **more):
    result = {
        "type": "rectanglelabels",
        "original_width": 64,
        "original_height": 64,
        "value": {"rectanglelabels": ["cat"], **value},
        **more,
    }
    return raw("a.json", json.dumps([{"data": {"image": "7.png"}, "annotations": [{"result": [result]}]}]))


def via(shape_attributes, region_attributes=None, name="7.png"):
    region = {
        "shape_attributes": shape_attributes,
        "region_attributes": {"class": "cat"} if region_attributes is None else region_attributes,
    }
    return raw("a.json", json.dumps({"k": {"filename": name, "regions": [region]}}))


def via3(region=None, **more):
    content = {
        "project": {"vid_list": ["1"]},
        "attribute": {"1": {"aname": "class", "type": 4, "options": {"0": "cat"}}},
        "file": {"1": {"fid": 1, "fname": "7.png", "type": 2}},
        "metadata": {"m": {"vid": "1", "z": [], "xy": [2, 1, 2, 3, 4], "av": {"1": "0"}, **(region or {})}},
        "view": {"1": {"fid_list": [1]}},
    }
    return raw("a.json", json.dumps({**content, **more}))


def studio_file(name, content):
    def change(tmp):
        (tmp / "tasks").mkdir()
        raw(f"tasks/{name}", content if isinstance(content, str) else json.dumps(content))(tmp)

    return change


def kitti_list(text):
    def change(tmp):
        for folder in ("k/label_2", "k/ImageSets"):
            (tmp / folder).mkdir(parents=True)
        raw("k/label_2/7.txt", _CAR)(tmp)
        (tmp / "k/ImageSets/train.txt").write_bytes(text)

    return change


def kitti(*lines, name="7.txt"):
    def change(tmp):
        (tmp / "k").mkdir()
        raw(f"k/{name}", "\n".join(lines))(tmp)

    return change


_TASKS = "data convert {tmp}/tasks {tmp}/new --from labelstudio --images {tmp}/images"
_SPLIT = "data split {tmp}/train.json {tmp}/images --out {tmp}/new"
_NEXT = "data next {tmp}/run {tmp}/images"
_MERGE = "data merge {tmp}/train.json {tmp}/images {tmp}/val.json {tmp}/images --out {tmp}/new.json"
_AT = "{tmp}/a.json: "
_SHAPE = f"{_AT}shapes[0]"
_POINT = f"{_SHAPE}.points[1]"
_VALUE = f"{_AT}[0].annotations[0].result[0].value"
_RESULT = f"{_AT}[0].annotations[0].result[0]"
_REGION = f"{_AT}k.regions[0]"
_BOX = {"x": 10, "y": 10, "width": 50, "height": 50}
_RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}
_CAR = "Car 0 0 0 1 2 30 40 1 1 1 1 1 1 1"
# (what is wrong with any JSON file, what the line says of it)
_JSON = {
    "nested without end": (b"[" * 100_000, "is nested too deep"),
    "nested deep": (b'{"shapes": ' + b"[" * 300 + b"]" * 300 + b"}", "is nested too deep"),
    "a number of 5000 digits": (b'{"shapes": ' + b"1" * 5000 + b"}", "has a number of thousands of digits"),
    "half a character": (b'{"shapes": "\\udc00"}', "has half a character (\\udc00 at line 1)"),
    "another encoding": ('{"shapes": "é"}'.encode("latin-1"), "is not UTF-8 text"),
    "cut short": (b'{"shapes": [{"label": 1', "is not JSON (Expecting ',' delimiter at line 1)"),
}

ROWS = {
    **{
        f"{kind}: {fault}": (command, raw("a.json", content), f"{_AT}{reason}{_FIX}")
        for kind, command in (("labelme", _LABELME), ("Label Studio", _STUDIO), ("VIA", _VIA))
        for fault, (content, reason) in _JSON.items()
    },
    # labelme
    "labelme of a list": (_LABELME, raw("a.json", "[]"), f"{_AT}is [], but must be an object{_FIX}"),
    "labelme without shapes": (_LABELME, raw("a.json", '{"imagePath": "7.png"}'), f"{_AT}shapes: is missing; expected a list{_FIX}"),
    "labelme without an image": (_LABELME, raw("a.json", '{"shapes": []}'), f"{_AT}imagePath: is missing; expected a text{_FIX}"),
    "labelme with a height of NaN": (
        _LABELME,
        labelme(imageHeight=float("nan")),
        f"{_AT}imageHeight: is NaN; expected a whole number of pixels{_FIX}",
    ),
    "labelme with a width of 0": (_LABELME, labelme(imageWidth=0), f"{_AT}imageWidth: is 0; expected a whole number of pixels{_FIX}"),
    "labelme with another size": (
        _LABELME,
        labelme(imageWidth=32),
        f'{_AT}"7.png" is 32 x 64 pixels in the annotations, but {{tmp}}/images/7.png has 64 x 64{_WRONG}{_FIX}',
    ),
    "labelme with an image that is not there": (
        _LABELME,
        raw("a.json", '{"shapes": [], "imagePath": "none.png"}'),
        f'{_AT}the size of "none.png" is unknown, because there is no such image; name its folder with --images{_FIX}',
    ),
    "labelme with a NUL in a name": (
        _LABELME,
        raw("a.json", '{"shapes": [], "imagePath": "a\\u0000b"}'),
        f'{_AT}the size of "a\\u0000b" is unknown, because there is no such image; name its folder with --images{_FIX}',
    ),
    "labelme with a long name": (
        _LABELME,
        labelme(imagePath="x" * 300),
        f'{{tmp}}/images: an image has a name that is longer than a file name can be: "{"x" * 56}...{_FIX}',
    ),
    "labelme with an infinite point": (
        _LABELME,
        labelme(shape([[1, 1], [float("inf"), 2], [3, 3]])),
        f"{_POINT}[0]: is Infinity; expected a number{_FIX}",
    ),
    "labelme with a point of text": (_LABELME, labelme(shape([[1, 1], ["2", 2], [3, 3]])), f'{_POINT}[0]: is "2"; expected a number{_FIX}'),
    "labelme with a point of three": (
        _LABELME,
        labelme(shape([[1, 1], [2, 2, 2], [3, 3]])),
        f"{_POINT}: is [2, 2, 2]; expected two numbers x and y{_FIX}",
    ),
    "labelme with a polygon of two": (
        _LABELME,
        labelme(shape([[1, 1], [2, 2]])),
        f"{_SHAPE}.points: has 2 points; a polygon has at least 3{_FIX}",
    ),
    "labelme with a circle of three": (
        _LABELME,
        labelme(shape([[1, 1], [2, 2], [3, 3]], "circle")),
        f"{_SHAPE}.points: has 3 points; a circle has 2{_FIX}",
    ),
    "labelme with an unknown shape": (
        _LABELME,
        labelme(shape([[1, 1]], "heart")),
        f"{_SHAPE}.shape_type: is 'heart', which is unknown{_FIX}",
    ),
    "labelme with a label of a number": (
        _LABELME,
        labelme({**shape([[1, 1], [2, 2], [3, 3]]), "label": 7}),
        f"{_SHAPE}.label: is 7; expected a text{_FIX}",
    ),
    "labelme with a mask of text": (
        _LABELME,
        labelme(shape([[1, 1], [2, 2]], "mask", mask="!")),
        f"{_SHAPE}.mask: is not a PNG image in base64{_FIX}",
    ),
    "labelme with a shape of text": (_LABELME, labelme("cat"), f'{_SHAPE}: is "cat"; expected an object{_FIX}'),
    # CVAT
    "CVAT with entities": (
        _CVAT,
        raw("a.xml", '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]>\n<annotations>&d;</annotations>'),
        f"{{tmp}}/a.xml:1: declares the entity 'b', which no annotation needs{_FIX}",
    ),
    "CVAT of VOC": (
        _CVAT,
        raw("a.xml", "<annotation/>"),
        f"{{tmp}}/a.xml:1: is not CVAT's XML: its root is <annotation>, not <annotations>{_FIX}",
    ),
    "CVAT cut short": (_CVAT, raw("a.xml", "<annotations><image"), f"{{tmp}}/a.xml:1: is not well-formed XML (unclosed token){_FIX}"),
    "CVAT without a name": (_CVAT, cvat("", ""), f"{{tmp}}/a.xml:2: image has no name{_FIX}"),
    "CVAT with a width of text": (
        _CVAT,
        cvat("", 'name="7.png" width="wide" height="64"'),
        f"{{tmp}}/a.xml:2: image has width 'wide', not a number{_FIX}",
    ),
    "CVAT with half a pixel": (
        _CVAT,
        cvat("", 'name="7.png" width="64" height="63.5"'),
        f"{{tmp}}/a.xml:2: image has height '63.5', not a size in pixels{_FIX}",
    ),
    "CVAT without a corner": (_CVAT, cvat('<box label="cat" xtl="1" ytl="1" xbr="9"/>'), f"{{tmp}}/a.xml:3: box has no ybr{_FIX}"),
    "CVAT with an infinite corner": (
        _CVAT,
        cvat('<box label="cat" xtl="1" ytl="1" xbr="9" ybr="1e999"/>'),
        f"{{tmp}}/a.xml:3: box has ybr '1e999', not a number{_FIX}",
    ),
    "CVAT with turned corners": (
        _CVAT,
        cvat('<box label="cat" xtl="9" ytl="1" xbr="1" ybr="9"/>'),
        f"{{tmp}}/a.xml:3: box has xbr 1 before xtl 9{_FIX}",
    ),
    "CVAT without a label": (_CVAT, cvat('<box xtl="1" ytl="1" xbr="9" ybr="9"/>'), f"{{tmp}}/a.xml:3: box has no label{_FIX}"),
    "CVAT with an unknown shape": (_CVAT, cvat("<heart/>"), f"{{tmp}}/a.xml:3: heart is a shape that is not known{_FIX}"),
    "CVAT with a point of one": (
        _CVAT,
        cvat('<polygon label="cat" points="1,2;3"/>'),
        f"{{tmp}}/a.xml:3: polygon has a point '3', which is not x,y{_FIX}",
    ),
    "CVAT with a polygon of two": (
        _CVAT,
        cvat('<polygon label="cat" points="1,2;3,4"/>'),
        f"{{tmp}}/a.xml:3: polygon has 2 points; a polygon has at least 3{_FIX}",
    ),
    "CVAT with a negative radius": (
        _CVAT,
        cvat('<ellipse label="cat" cx="9" cy="9" rx="-1" ry="3"/>'),
        f"{{tmp}}/a.xml:3: ellipse has a radius -1{_FIX}",
    ),
    "CVAT with a mask of a gigapixel": (
        _CVAT,
        cvat('<mask label="cat" left="0" top="0" width="1000000" height="1000000" rle="1000000000000"/>'),
        f"{{tmp}}/a.xml:3: mask has 1000000 x 1000000 pixels, more than its image{_FIX}",
    ),
    "CVAT with a short mask": (
        _CVAT,
        cvat('<mask label="cat" left="0" top="0" width="4" height="4" rle="1,2"/>'),
        f"{{tmp}}/a.xml:3: mask has an rle of 3 pixels for 4 x 4{_FIX}",
    ),
    "CVAT with a mask of text": (
        _CVAT,
        cvat('<mask label="cat" left="0" top="0" width="4" height="4" rle="1,x"/>'),
        f"{{tmp}}/a.xml:3: mask has an rle that is not a list of lengths{_FIX}",
    ),
    "CVAT with an image twice": (
        _CVAT,
        raw("a.xml", '<annotations>\n<image name="7.png"/>\n<image name="7.png"/>\n</annotations>'),
        f'{{tmp}}/a.xml:3: is about "7.png", as {{tmp}}/a.xml:2 is{_FIX}',
    ),
    "CVAT with a frame of text": (
        _CVAT,
        raw("a.xml", '<annotations>\n<track label="cat">\n<box frame="x"/>\n</track>\n</annotations>'),
        f"{{tmp}}/a.xml:3: box has frame 'x', not a number{_FIX}",
    ),
    # Label Studio
    "Label Studio of an object": (_STUDIO, raw("a.json", "{}"), f"{_AT}is {{}}, but must be a list{_FIX}"),
    "Label Studio with a task of text": (_STUDIO, raw("a.json", '["a"]'), f'{_AT}[0]: is "a"; expected an object{_FIX}'),
    "Label Studio without an image": (
        _STUDIO,
        raw("a.json", '[{"data": {"text": "a"}, "annotations": [{"result": []}]}]'),
        f"{_AT}[0].data: names no image{_FIX}",
    ),
    "Label Studio without a size": (
        _STUDIO,
        studio(_BOX, original_width=None),
        f"{_RESULT}.original_width: is missing, so that percent cannot become pixels{_FIX}",
    ),
    "Label Studio with a turned image": (
        _STUDIO,
        studio(_BOX, image_rotation=90),
        f"{_RESULT}.image_rotation: is not 0; turn the image itself, and label it again{_FIX}",
    ),
    "Label Studio without a label": (_STUDIO, studio({**_BOX, "rectanglelabels": []}), f"{_RESULT}: has no label{_FIX}"),
    "Label Studio with NaN": (_STUDIO, studio({**_BOX, "x": float("nan")}), f"{_VALUE}.x: is NaN; expected a number{_FIX}"),
    "Label Studio with a negative width": (
        _STUDIO,
        studio({**_BOX, "width": -1}),
        f"{_VALUE}.width: is -1; expected a number of at least 0{_FIX}",
    ),
    "Label Studio with a line": (
        _STUDIO,
        studio({"points": [[1, 1], [2, 2]]}),
        f"{_VALUE}.points: has 2 points; a polygon has at least 3{_FIX}",
    ),
    "Label Studio with a brush of nothing": (_STUDIO, studio({"rle": []}), f"{_VALUE}.rle: is no mask of 64 x 64 pixels (cut short){_FIX}"),
    "Label Studio with a brush of texts": (_STUDIO, studio({"rle": ["a"]}), f"{_VALUE}.rle: is no mask of 64 x 64 pixels{_FIX}"),
    "Label Studio with a brush of another size": (
        _STUDIO,
        studio({"rle": [255] * 20}),
        f"{_VALUE}.rle: is no mask of 64 x 64 pixels (holds 1.07374e+09 pixels){_FIX}",
    ),
    "Label Studio folder without JSON": (_TASKS, studio_file("a.txt", "a"), "{tmp}/tasks: holds no JSON file of Label Studio"),
    "Label Studio folder with a damaged file": (
        _TASKS,
        studio_file("5.json", '{"task": '),
        f"{{tmp}}/tasks/5.json: is not JSON (Expecting value at line 1){_FIX}",
    ),
    "Label Studio folder with another file": (
        _TASKS,
        studio_file("5.json", '{"a": 1}'),
        f'{{tmp}}/tasks/5.json: is {{"a": 1}}, but must be a list{_FIX}',
    ),
    "Label Studio annotation without its task": (
        _TASKS,
        studio_file("5.json", {"id": 5, "task": 2, "result": []}),
        f"{{tmp}}/tasks/5.json: names no image{_FIX}",
    ),
    "Label Studio annotation with a result of text": (
        _TASKS,
        studio_file("5.json", {"id": 5, "task": {"id": 2, "data": {"image": "7.png"}}, "result": "a"}),
        f'{{tmp}}/tasks/5.json: result: is "a"; expected a list{_FIX}',
    ),
    "Label Studio task of text": (
        _TASKS,
        studio_file("5.json", {"data": "7.png", "annotations": [{"result": []}]}),
        f'{{tmp}}/tasks/5.json: data: is "7.png"; expected an object{_FIX}',
    ),
    # VIA
    "VIA 3 without tables": (_VIA, raw("a.json", '{"project": {}, "metadata": {}}'), f"{_AT}file: is missing; expected an object{_FIX}"),
    "VIA 3 of a video": (
        _VIA,
        via3({"z": [2, 6.5], "xy": []}),
        f"{_AT}metadata.m.z: is a time in a video or in sound; VIA 3's projects of images are read alone{_FIX}",
    ),
    "VIA 3 with a video": (
        _VIA,
        via3(metadata={}, file={"1": {"fname": "a.mp4", "type": 4}}),
        f'{_AT}view["1"]: file["1"].type: is not 2; VIA 3\'s projects of images are read alone{_FIX}',
    ),
    "VIA 3 with a view of two files": (
        _VIA,
        via3(view={"1": {"fid_list": [1, 1]}}),
        f'{_AT}view["1"].fid_list: names 2 files; a view of one image is read{_FIX}',
    ),
    "VIA 3 with a file that is not there": (
        _VIA,
        via3(view={"1": {"fid_list": ["2"]}}),
        f"{_AT}view[\"1\"].fid_list[0]: is '2', which is none of file{_FIX}",
    ),
    "VIA 3 with a view that is not there": (_VIA, via3({"vid": "2"}), f"{_AT}metadata.m.vid: is '2', which is none of view{_FIX}"),
    "VIA 3 with metadata of text": (_VIA, via3(metadata="a"), f'{_AT}metadata: is "a"; expected an object{_FIX}'),
    "VIA 3 with a region of text": (_VIA, via3({"xy": "a"}), f'{_AT}view["1"]: metadata.m.xy: is "a"; expected a list{_FIX}'),
    "VIA 3 with NaN": (
        _VIA,
        via3({"xy": [2, 1, float("nan"), 3, 4]}),
        f'{_AT}view["1"]: metadata.m.xy[2]: is NaN; expected a number{_FIX}',
    ),
    "VIA 3 with few numbers": (
        _VIA,
        via3({"xy": [2, 1, 2]}),
        f'{_AT}view["1"]: metadata.m.xy: has 2 numbers after the shape 2, which has 4{_FIX}',
    ),
    "VIA 3 with a negative width": (
        _VIA,
        via3({"xy": [2, 1, 2, -3, 4]}),
        f'{_AT}view["1"]: metadata.m.xy: has a negative side or radius{_FIX}',
    ),
    "VIA 3 with a polygon of a line": (
        _VIA,
        via3({"xy": [7, 1, 2, 3, 4]}),
        f'{_AT}view["1"]: metadata.m.xy: has 4 numbers after the shape; a polygon has x and y of at least 3 points{_FIX}',
    ),
    "VIA 3 with another shape": (_VIA, via3({"xy": [9, 1, 2]}), f'{_AT}view["1"]: metadata.m.xy: is of shape 9, which is not read{_FIX}'),
    "VIA 3 with an option that is not there": (
        _VIA,
        via3({"av": {"1": "5"}}),
        f'{_AT}view["1"]: metadata.m.av["1"]: is \'5\', which is none of attribute["1"].options{_FIX}',
    ),
    "VIA 3 with an attribute that is not there": (
        _VIA,
        via3({"av": {"9": "0"}}),
        f'{_AT}view["1"]: metadata.m.av["9"]: is of an attribute that is none of attribute{_FIX}',
    ),
    "VIA 3 without a class": (
        _VIA,
        via3({"av": {}}),
        f"{_AT}view[\"1\"]: metadata.m.av: has no class; name the attribute 'class'{_FIX}",
    ),
    "VIA of a list": (_VIA, raw("a.json", "[]"), f"{_AT}is [], but must be an object{_FIX}"),
    "VIA without a name": (_VIA, raw("a.json", '{"k": {"regions": []}}'), f"{_AT}k.filename: is missing; expected a text{_FIX}"),
    "VIA with regions of text": (
        _VIA,
        raw("a.json", '{"k": {"filename": "7.png", "regions": "a"}}'),
        f'{_AT}k.regions: is "a"; expected a list{_FIX}',
    ),
    "VIA with an image that is not there": (
        _VIA,
        via(_RECT, name="none.png"),
        f'{_AT}k: the size of "none.png" is unknown, because there is no such image; name its folder with --images{_FIX}',
    ),
    "VIA with an unknown shape": (_VIA, via({"name": "heart"}), f"{_REGION}.shape_attributes.name: is 'heart', which is unknown{_FIX}"),
    "VIA with a width of NaN": (
        _VIA,
        via({**_RECT, "width": float("nan")}),
        f"{_REGION}.shape_attributes.width: is NaN; expected a number{_FIX}",
    ),
    "VIA without a class": (_VIA, via(_RECT, {}), f"{_REGION}.region_attributes: has no class; name the attribute 'class'{_FIX}"),
    "VIA with two attributes": (
        _VIA,
        via(_RECT, {"a": "x", "b": "y"}),
        f'{_REGION}.region_attributes: has 2 attributes (["a", "b"]), of which none is class; name the attribute \'class\'{_FIX}',
    ),
    "VIA with two classes": (
        _VIA,
        via(_RECT, {"class": {"a": True, "b": True}}),
        f"{_REGION}.region_attributes.class: has 2 boxes ticked; a class is one{_FIX}",
    ),
    "VIA with a polygon of unequal lists": (
        _VIA,
        via({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}),
        f"{_REGION}.shape_attributes.all_points_y: has 2 numbers, all_points_x has 3{_FIX}",
    ),
    # KITTI
    "KITTI with few columns": (_KITTI, kitti(_CAR, "Car 1 2"), f"{{tmp}}/k/7.txt:2: has 3 columns; KITTI has 15, or 16 with a score{_FIX}"),
    "KITTI with an infinite corner": (
        _KITTI,
        kitti(_CAR.replace("30", "inf")),
        f"{{tmp}}/k/7.txt:1: right is 'inf', not a number{_FIX}",
    ),
    "KITTI with turned corners": (_KITTI, kitti(_CAR.replace(" 2 ", " 50 ")), f"{{tmp}}/k/7.txt:1: bottom 40 lies before top 50{_FIX}"),
    "KITTI in another encoding": (
        _KITTI,
        lambda tmp: ((tmp / "k").mkdir(), (tmp / "k/7.txt").write_bytes(b"\xe9")),
        f"{{tmp}}/k/7.txt:1: is not UTF-8 text{_FIX}",
    ),
    "KITTI without an image": (
        _KITTI,
        kitti(_CAR, name="none.txt"),
        f'{{tmp}}/k/none.txt: the size of "none" is unknown, because there is no such image; name its folder with --images{_FIX}',
    ),
    "KITTI with a list of a missing file": (
        _KITTI,
        kitti_list(b"7\n8\n"),
        f'{{tmp}}/k/ImageSets/train.txt:2: names "8", of which {{tmp}}/k/label_2 has no label file{_FIX}',
    ),
    "KITTI with a list of paths": (
        _KITTI,
        kitti_list(b"../label_2/7\n"),
        f'{{tmp}}/k/ImageSets/train.txt:1: names "../label_2/7", of which {{tmp}}/k/label_2 has no label file{_FIX}',
    ),
    "KITTI with a list in another encoding": (_KITTI, kitti_list(b"\xe9"), "{tmp}/k/ImageSets/train.txt:1: is not UTF-8 text"),
    "KITTI without a label file": (_KITTI, lambda tmp: (tmp / "k").mkdir(), "{tmp}/k: holds no label file"),
    "KITTI of a file": (_KITTI, raw("k", ""), "{tmp}/k: is not a folder; name the folder of KITTI's label files"),
    # all
    "a class that is not named": (
        f"{_LABELME} --classes dog,bird",
        labelme(shape([[1, 1], [2, 2], [3, 3]])),
        f'{_AT}class "cat" is not in --classes dog,bird{_FIX}',
    ),
    "a split that is not there": (
        f"{_CVAT} --split val",
        raw("a.xml", '<annotations><image name="7.png" subset="a"/><image name="8.jpg" subset="b"/></annotations>'),
        "{tmp}/a.xml: has no split 'val'; there are a, b",
    ),
    # split and merge
    "split with a fraction of 1": (f"{_SPLIT} --val 1", None, "--val 1 must be a fraction of the images, 0..1, 1 excluded"),
    "split with NaN": (f"{_SPLIT} --val nan", None, "--val nan must be a fraction of the images, 0..1, 1 excluded"),
    "split with a negative fraction": (f"{_SPLIT} --test=-0.1", None, "--test -0.1 must be a fraction of the images, 0..1, 1 excluded"),
    "split that leaves nothing": (
        f"{_SPLIT} --val 0.5 --test 0.5",
        None,
        "--val 0.5 and --test 0.5 must leave images for training, and take some",
    ),
    "split into more folds than images": (f"{_SPLIT} --folds 3", None, "--folds 3 must lie in 2..2, the number of images"),
    "split into folds and parts": (
        f"{_SPLIT} --folds 2 --val 0.2",
        None,
        "--folds makes training and validation files of all images; leave out --val and --test",
    ),
    "split of too few images": (
        f"{_SPLIT} --val 0.1",
        None,
        "{tmp}/train.json: no image is left for val, because it has 2, copies of which stay together",
    ),
    "split with a negative seed": (f"{_SPLIT} --seed=-1", None, "--seed -1 must be 0 or more"),
    "split of a file that is not there": (
        "data split {tmp}/none.json --out {tmp}/new",
        None,
        "{tmp}/none.json: cannot be read (No such file or directory); name a COCO instances JSON",
    ),
    "split without a folder": (
        "data split {tmp}/train.json {tmp}/none --out {tmp}/new",
        None,
        "{tmp}/none: is not a folder; name the folder of the images",
    ),
    "merge of one": (
        "data merge {tmp}/train.json {tmp}/images --out {tmp}/new.json",
        None,
        "2 sources; name pairs of a COCO file and the folder of its images, at least two of them",
    ),
    "merge of two files without folders": (
        "data merge {tmp}/train.json {tmp}/val.json {tmp}/images --out {tmp}/new.json",
        None,
        "3 sources; name pairs of a COCO file and the folder of its images, at least two of them",
    ),
    "merge with a folder that is not there": (
        "data merge {tmp}/train.json {tmp}/images {tmp}/val.json {tmp}/none --out {tmp}/new.json",
        None,
        "{tmp}/none: is not a folder; name the folder of the images of {tmp}/val.json",
    ),
    "merge of two sizes": (
        _MERGE,
        entry("val.json", "images", width=32),
        "{tmp}/val.json: image id 8 (8.jpg) is 32 x 64 here and 64 x 64 in train.json; fix one of them",
    ),
    "merge of a class twice": (
        _MERGE,
        entry("train.json", "categories", name="dog"),
        "{tmp}/train.json: has two categories called 'dog'; give one of them another name",
    ),
    # next
    "next of none": (f"{_NEXT} --count 0", None, "--count 0 must be 1 or more"),
    "next with a threshold of 1": (f"{_NEXT} --score-threshold 1", None, "--score-threshold 1 must lie in 0..1, 1 excluded"),
    "next into a text file": (f"{_NEXT} --out {{tmp}}/next.txt", None, "--out {tmp}/next.txt: must end in .csv or .json"),
    "next without a run": (
        "data next {tmp}/none {tmp}/images",
        None,
        "{tmp}/none: no such run or checkpoint; name a work directory that training has written",
    ),
    "next of a URL": (
        "data next {tmp}/run http://localhost/a.jpg",
        None,
        "http://localhost/a.jpg: data next ranks image files on a disk; download it first",
    ),
}
