"""`ttfnet fit`: sources, times and work directories that it refuses."""

from bad_inputs.changes import coco, folder, text

_FIT = "fit {tmp}/train.json --work-dir {tmp}/fitted"
_ONE_IMAGE = [{"id": 7, "file_name": "7.png", "width": 64, "height": 64}]

ROWS = {
    "fit of nothing": (
        "fit {tmp}/none --work-dir {tmp}/fitted",
        None,
        "{tmp}/none: no such file or folder; name a COCO file, a data.yaml, a CSV file or a folder with one of them",
    ),
    "fit of an image": (
        "fit {tmp}/images/7.png --work-dir {tmp}/fitted",
        None,
        "{tmp}/images/7.png: is of an unknown format; name its format with --from voc|yolo|csv|coco|labelme|cvat|labelstudio|via|kitti",
    ),
    "fit of an empty folder": (
        "fit {tmp}/empty --work-dir {tmp}/fitted",
        folder("empty"),
        "{tmp}/empty: looks like no known format; name its format with --from voc|yolo|csv|coco|labelme|cvat|labelstudio|via|kitti",
    ),
    "fit of JSON that is none": (
        _FIT,
        text("train.json", "{"),
        "{tmp}/train.json: is not JSON (Expecting property name enclosed in double quotes at line 1); name a COCO instances JSON",
    ),
    "fit without a box": (
        _FIT,
        coco("train.json", annotations=[]),
        "{tmp}/fitted/data/train.json: 0 images, 0 boxes, 2 classes; dropped: 1 images without a usable box; no image is left to train on",
    ),
    "fit of one image": (
        _FIT,
        coco("train.json", images=_ONE_IMAGE, annotations=[]),
        "{tmp}/train.json: holds one image; at least two are needed, one of them for validation",
    ),
    "fit with images elsewhere": (
        _FIT,
        coco("train.json", images=[{**_ONE_IMAGE[0], "file_name": "gone.png"}], annotations=[]),
        "{tmp}/train.json: its images, such as gone.png, are not beside it; name their folder with --images",
    ),
    "fit in no time": (f"{_FIT} --minutes 0", None, "--minutes 0 must lie in 1..10080"),
    "fit for ever": (f"{_FIT} --minutes inf", None, "--minutes inf must lie in 1..10080"),
    "fit with epochs": (f"{_FIT} train.epochs=3", None, "override 'train.epochs=3': the time decides how long it trains; set --minutes"),
    "fit with other data": (
        f"{_FIT} data.val.images={{tmp}}/images",
        None,
        "override 'data.val.images={tmp}/images': the data are those of DATA; name the folder of their images with --images",
    ),
    "fit with a wrong setting": (f"{_FIT} optim.lr=-1", None, "optim.lr=-1.0 must be above 0"),
    "fit into another run": (
        "fit {tmp}/train.json --work-dir {tmp}/run",
        None,
        "{tmp}/run/config.yaml: exists and was not written by ttfnet fit; choose another --work-dir",
    ),
    "fit with a damaged record": (
        "fit {tmp}/train.json --work-dir {tmp}",
        text("fit.json", "[]"),
        "{tmp}/fit.json: was not written by ttfnet fit, or is damaged; choose another --work-dir",
    ),
    "train.minutes without its schedule": (
        "train {tmp}/a.yaml train.minutes=3 optim.schedule=cosine --work-dir {tmp}/new",
        None,
        "{tmp}/a.yaml: train.minutes=3.0 needs optim.schedule=trapezoid, whose end can follow the clock",
    ),
    "train.minutes with epochs": (
        "train {tmp}/a.yaml optim.schedule=trapezoid train.minutes=3 train.epochs=9 --work-dir {tmp}/new",
        None,
        "override 'train.epochs=9': train.epochs=9 has no effect with train.minutes=3.0; remove it",
    ),
    "a bend without its fraction": (
        "train {tmp}/a.yaml optim.schedule=trapezoid optim.cooldown_bends=[30] --work-dir {tmp}/new",
        None,
        "{tmp}/a.yaml: optim.cooldown_bends=[30.0] must be [step, fraction, ...] with ascending steps and fractions of the rate in 0..1",
    ),
}
