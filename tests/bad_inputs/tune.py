"""`ttfnet tune`: times, settings and work directories that it refuses; what is wrong with data is refused as by fit."""

from bad_inputs.changes import folder, text

_TUNE = "tune {tmp}/train.json --work-dir {tmp}/study"
_RECORD = (
    '{{"written_by": "ttfnet tune", "data": "{data}", "from": null, "images": null, "settings": [], "trial_minutes": 5.0, '
    '"used_seconds": 1.0, "space": null, "running": null}}'
)

ROWS = {
    "tune in no time": (f"{_TUNE} --minutes 1", None, "--minutes 1 must lie in 3..43200"),
    "tune for ever": (f"{_TUNE} --minutes inf", None, "--minutes inf must lie in 3..43200"),
    "tune with one long trial": (
        f"{_TUNE} --minutes 60 --trial-minutes 45",
        None,
        "--trial-minutes 45 must lie in 1..30, half of --minutes",
    ),
    "tune with endless trials": (f"{_TUNE} --trial-minutes nan", None, "--trial-minutes nan must lie in 1..60, half of --minutes"),
    "tune with images elsewhere": (f"{_TUNE} --images {{tmp}}/gone", None, "--images {tmp}/gone: is not a folder"),
    "tune with epochs": (f"{_TUNE} train.epochs=3", None, "override 'train.epochs=3': the time decides how long it trains; set --minutes"),
    "tune with a wrong setting": (f"{_TUNE} optim.lr=-1", None, "optim.lr=-1.0 must be above 0"),
    "tune into a bucket": (
        "tune {tmp}/train.json --work-dir s3://bucket/study",
        None,
        "s3://bucket/study: tune reads and writes on a disk; name a path",
    ),
    "tune into a run": (
        "tune {tmp}/train.json --work-dir {tmp}/run",
        None,
        "{tmp}/run/config.yaml: exists and was not written by ttfnet tune; choose another --work-dir",
    ),
    "tune beside trials of others": (
        "tune {tmp}/train.json --work-dir {tmp}",
        folder("trials"),
        "{tmp}/trials: exists and was not written by ttfnet tune; choose another --work-dir",
    ),
    "tune with a damaged record": (
        "tune {tmp}/train.json --work-dir {tmp}",
        text("tune.json", "[]"),
        "{tmp}/tune.json: was not written by ttfnet tune, or is damaged; choose another --work-dir",
    ),
    "tune with a record of another data set": (
        "tune {tmp}/train.json --work-dir {tmp}",
        text("tune.json", _RECORD.format(data="/data/other.json")),
        "{tmp}: holds a study with data /data/other.json, now it is {tmp}/train.json; repeat that command, or choose another --work-dir",
    ),
    "tune with a space that is none": (
        "tune {tmp}/train.json --work-dir {tmp}",
        text("tune.json", _RECORD.format(data="x").replace('"space": null', '"space": [3]')),
        "{tmp}/tune.json: was not written by ttfnet tune, or is damaged; choose another --work-dir",
    ),
}
