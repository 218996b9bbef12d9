"""Sources and outputs of `ttfnet predict`."""

from bad_inputs.changes import text

PREDICT = "predict {tmp}/run {tmp}/images --out {tmp}/out"
_LINE = "must be two points of the frame in pixels, x1,y1,x2,y2, e.g. 0,240,640,240"
VIDEO = "predict {tmp}/run {tmp}/film.mp4 --out {tmp}/out"
_FORMATS = "must be coco, cvat, labelstudio, fiftyone, yolo, csv, jsonl or none, or several with commas between"


def _labels(tmp):
    (tmp / "labels").mkdir()
    (tmp / "labels" / "classes.txt").write_text("cat\n")


_CLOSED = "http://127.0.0.1:1"  # no server listens there

ROWS = {
    "something at an address without a server": (
        f"predict {{tmp}}/run {_CLOSED}/a --out {{tmp}}/out",
        None,
        f"{_CLOSED}/a: cannot be fetched (Connection refused); name an image, a folder of images or a quoted pattern",
    ),
    "an address with a wrong port": (
        "predict {tmp}/run http://me:secret@host:port/a --out {tmp}/out",
        None,
        "http://me:***@host:port/a: is not an address; expected such as https://host/image.jpg; name an image, a folder of images or a "
        "quoted pattern",
    ),
    "a stream without a server": (
        "predict {tmp}/run rtsp://me:secret@127.0.0.1:1/live --out {tmp}/out",
        None,
        "rtsp://me:***@127.0.0.1:1/live: cannot be opened as a stream or video within 15 seconds; is the address right?",
    ),
    "a stream and an image": (
        "predict {tmp}/run rtsp://me:secret@127.0.0.1:1/live {tmp}/images/7.png --out {tmp}/out",
        None,
        "rtsp://me:***@127.0.0.1:1/live is a video and {tmp}/images/7.png is not; run predict on images and on videos separately",
    ),
    "frames of images": (f"{PREDICT} --max-frames 3", None, "--max-frames is for videos, cameras and streams; leave it out for images"),
    "seconds of images": (f"{PREDICT} --seconds 3", None, "--seconds is for videos, cameras and streams; leave it out for images"),
    "frames with a runner": (
        f"{PREDICT} --runner local --max-frames 3",
        None,
        "--max-frames is for videos and cameras; leave it out with --runner",
    ),
    "a line without tracks": (f"{VIDEO} --count-line 0,0,9,9", None, "--count-line counts tracks; add --track"),
    "a line of three numbers": (
        f"{VIDEO} --track --count-line 0,0,9",
        None,
        f"--count-line 0,0,9 {_LINE}",
    ),
    "a line of words": (f"{VIDEO} --track --count-line a,b,c,d", None, f"--count-line a,b,c,d {_LINE}"),
    "a line without length": (f"{VIDEO} --track --count-line 5,5,5,5", None, f"--count-line 5,5,5,5 {_LINE}"),
    "a line without an end": (f"{VIDEO} --track --count-line 0,0,inf,5", None, f"--count-line 0,0,inf,5 {_LINE}"),
    "tracks with a runner": (f"{PREDICT} --runner local --track", None, "--track is for videos and cameras; leave it out with --runner"),
    "a line with a runner": (
        f"{PREDICT} --runner local --count-line 0,0,9,9",
        None,
        "--count-line is for videos and cameras; leave it out with --runner",
    ),
    "no frames": (f"{VIDEO} --max-frames 0", text("film.mp4", "no video"), "--max-frames 0 must be 1 or more"),
    "no seconds": (f"{VIDEO} --seconds 0", text("film.mp4", "no video"), "--seconds 0 must be above 0"),
    "seconds that are no number": (f"{VIDEO} --seconds nan", text("film.mp4", "no video"), "--seconds nan must be above 0"),
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
