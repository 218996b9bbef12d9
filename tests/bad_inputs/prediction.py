"""Sources and outputs of `ttfnet predict`."""

from bad_inputs.changes import text

PREDICT = "predict {tmp}/run {tmp}/images --out {tmp}/out"
_FORMATS = "must be coco, cvat, labelstudio, fiftyone, yolo, csv, jsonl or none, or several with commas between"


def _labels(tmp):
    (tmp / "labels").mkdir()
    (tmp / "labels" / "classes.txt").write_text("cat\n")


ROWS = {
    "unknown format to save": (f"{PREDICT} --save coc", None, f"--save coc: {_FORMATS}"),
    "one of several formats": (f"{PREDICT} --save csv,,coco", None, f"--save : {_FORMATS}"),
    "a format of images for a video": (
        "predict {tmp}/run {tmp}/film.mp4 --out {tmp}/out --save coco",
        text("film.mp4", "no video"),
        "--save coco: is for images; of videos there are csv, jsonl and none",
    ),
    "a window without drawings": (
        "predict {tmp}/run {tmp}/film.mp4 --out {tmp}/out --save none --show",
        text("film.mp4", "no video"),
        "--show shows drawn frames; leave out --save none",
    ),
    "an empty name of a class": (
        f"{PREDICT} --classes ,",
        None,
        "--classes ,: a name is empty; give the names of classes with commas between",
    ),
    "no name of a class": (f"{PREDICT} --classes ''", None, "--classes : a name is empty; give the names of classes with commas between"),
    "unknown class to keep": (f"{PREDICT} --classes cta", None, "class 'cta': there is no such class; did you mean 'cat'?"),
    "formats with a runner": (
        f"{PREDICT} --runner local --save csv",
        None,
        "--save is not for --runner, which writes files of records; leave one of them out",
    ),
    "crops with a runner": (
        f"{PREDICT} --runner local --crops {{tmp}}/crops",
        None,
        "--crops is not for --runner, which writes files of records; leave one of them out",
    ),
    "crops of another program": (
        f"{PREDICT} --crops {{tmp}}",
        text("crops.jsonl", '{"crop": "a.png"}\n'),
        "{tmp}/crops.jsonl: exists and was not written by ttfnet predict; name another folder with --crops",
    ),
    "a file in place of the crops": (
        f"{PREDICT} --crops {{tmp}}/a.yaml",
        None,
        "{tmp}/a.yaml: cannot be made (File exists); name another folder with --crops",
    ),
    "a table of another program": (
        "predict {tmp}/run {tmp}/images --out {tmp} --save csv",
        text("detections.csv", "a,b\n"),
        "{tmp}/detections.csv: exists and was not written by ttfnet predict; name another folder with --out",
    ),
    "class numbers of another program": (
        "predict {tmp}/run {tmp}/images --out {tmp} --save yolo",
        _labels,
        "{tmp}/labels/classes.txt: exists and was not written by ttfnet predict; name another folder with --out",
    ),
}
