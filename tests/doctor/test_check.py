"""Every kind of finding planted once: it is reported, nothing else is, and training does what the finding says."""

import json
import time

import numpy as np
import pytest
from doctor import planted

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.doctor.check import check_data
from ttfnet_tf.doctor.duplicate_images import check_duplicates, pairs_of_copies
from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.doctor.fix_rules import ANNOTATION_RULES, ENTRY_RULES, IMAGE_RULES
from ttfnet_tf.doctor.image_files import ImageFacts
from ttfnet_tf.doctor.inventory import ImageEntry
from ttfnet_tf.doctor.kinds import KINDS, SEVERITIES
from ttfnet_tf.doctor.report import report_lines
from ttfnet_tf.errors import UserError

SETTINGS = Settings(image_size=planted.IMAGE_SIZE)
ALL = {**planted.PLANTS, **planted.WHOLE}
FREE = 900  # ids from here on are not in the clean set


def codes(report):
    return {finding.code for finding in report.findings()}


def places(report, code):
    return [place for finding in report.findings() if finding.code == code for place in finding.places]


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """plant(code) -> (data set, its report), each made once."""
    made = {}

    def plant(code):
        if code not in made:
            data = planted.clean(tmp_path_factory.mktemp("set") / "data")
            ALL[code](data, 1, FREE)
            made[code] = data, check_data(*data.write(), settings=SETTINGS)
        return made[code]

    return plant


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One set with every plant that does not concern a file as a whole, each in an image of its own, and its report."""
    data = planted.clean(tmp_path_factory.mktemp("set") / "data", images=len(planted.PLANTS) + 3)
    for k, code in enumerate(planted.PLANTS):
        planted.PLANTS[code](data, k, FREE + k)
    return data, check_data(*data.write(), settings=SETTINGS)


def test_there_is_a_plant_for_every_kind():
    assert set(ALL) == set(KINDS)
    assert len(KINDS) >= 30
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)


def test_every_error_and_warning_says_what_to_do():
    assert [code for code, kind in KINDS.items() if kind.severity != "note" and not kind.advice] == []


def test_the_advice_names_fix_where_fix_has_a_rule():
    rules = set().union(*ENTRY_RULES, *IMAGE_RULES, *ANNOTATION_RULES)
    assert rules == {code for code, kind in KINDS.items() if "--fix" in kind.advice}


def test_a_clean_set_has_no_finding(tmp_path):
    report = check_data(*planted.clean(tmp_path / "data").write(), settings=SETTINGS)
    assert report_lines(report)[-1] == "found: nothing"
    assert report.exit_code() == report.exit_code(strict=True) == 0


@pytest.mark.parametrize("code", ALL)
def test_each_fault_is_reported_and_nothing_else(plant, code):
    _, report = plant(code)
    assert codes(report) == {code} | planted.ALSO.get(code, set())
    assert report.exit_code() == (2 if KINDS[code].severity == "error" else 0)
    assert report.exit_code(strict=True) == (0 if KINDS[code].severity == "note" else 2)


@pytest.mark.parametrize("code", [code for code in planted.PLANTS if code.startswith(("box-", "area-", "crowd-"))])
def test_boxes_are_named_by_file_and_ids(plant, code):
    data, report = plant(code)
    (place,) = places(report, code)
    names_of = {one["id"]: one["file_name"] for one in data.train["images"]}
    annotation = data.train["annotations"][place.position]
    assert (place.image_id, place.annotation_id, place.file) == (annotation["image_id"], annotation["id"], names_of[place.image_id])
    assert place.image_id in (data.image(1)["id"], FREE)


def test_all_faults_at_once_are_counted_once_each(everything):
    _, report = everything
    counts = {finding.code: len(finding.places) for finding in report.splits[0].findings}
    expected = dict.fromkeys(planted.PLANTS, 1)
    # Images: one without boxes, another that is not there as well. Boxes: one crowd, three in the image without any other.
    expected.update({"image-without-boxes": 2, "box-crowd": 4})
    assert counts == expected
    assert {finding.code for finding in report.splits[1].findings} == {"category-ids-gap"}


@pytest.mark.parametrize("code", ALL)
def test_reading_stops_where_the_finding_says_so(plant, code):
    data, _ = plant(code)
    (train, images), _ = data.write()
    stops = KINDS[code].effect == "training stops while reading the file" or code in ("nothing-to-use", "boxes-relative")
    if stops:
        with pytest.raises(UserError):
            load_coco(train, images, training=True)
    else:
        load_coco(train, images, training=True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("box-zero", "boxes without area"),
        ("box-negative", "boxes without area"),
        ("area-zero", "boxes without area"),
        ("box-outside", "boxes outside their image"),
        ("box-below-minimum", "boxes below min_box_size"),
        ("box-crowd", "crowd boxes"),
        ("box-ignore", "boxes marked ignore"),
        ("image-small", "images below min_image_size"),
        ("image-without-boxes", "images without a usable box"),
    ],
)
def test_what_is_reported_as_dropped_is_dropped(plant, code, reason):
    (train, images), _ = plant(code)[0].write()
    assert load_coco(train, images, training=True).dropped == {reason: 1}


@pytest.mark.parametrize(
    "code", ["area-too-large", "box-partly-outside", "box-below-pixel", "box-aspect", "box-two-classes", "file-name-twice"]
)
def test_what_is_reported_as_used_is_used(plant, code):
    (train, images), _ = plant(code)[0].write()
    assert load_coco(train, images, training=True).dropped == {}


@pytest.mark.parametrize(
    ("code", "settings", "severity", "words"),
    [
        ("image-broken", {"broken_images": "skip"}, "warning", "skipped"),
        ("image-missing", {"broken_images": "skip"}, "warning", "skipped"),
        ("box-crowd", {"crowd": "object"}, "warning", "single objects"),
        ("image-without-boxes", {"empty_images": "keep"}, "note", "as background"),
        ("box-two-classes", {"box_per_class": True}, "warning", "a box in each class"),
    ],
)
def test_settings_change_severity_and_effect(code, settings, severity, words):
    findings = Findings("train", Settings(**settings))
    findings.add(code)
    (finding,) = findings
    assert finding.severity == severity
    assert words in finding.effect


def test_min_box_size_and_image_size_count(tmp_path):
    data = planted.clean(tmp_path / "data")
    files = data.write()
    # The side of 15 px is that of all boxes of one class.
    assert codes(check_data(*files, settings=Settings(min_box_size=16))) == {"box-below-minimum", "class-without-usable-box"}
    assert codes(check_data(*files, settings=Settings(min_image_size=50))) >= {"image-small", "nothing-to-use"}
    assert codes(check_data(*files, settings=Settings(image_size=(8, 8)))) == {"box-below-cell"}  # 20 of 64 px are 2.5 of 8


def test_without_images_files_are_not_touched(plant):
    data, _ = plant("image-missing")
    report = check_data(*data.write(), settings=SETTINGS, with_images=False)
    assert codes(report) == set()
    assert "images not opened" in report.splits[0].summary()


def test_one_file_in_both_splits_is_a_leak_without_opening_it(tmp_path):
    data = planted.clean(tmp_path / "data")
    data.val["images"][0]["file_name"] = data.image(2)["file_name"]
    report = check_data(*data.write(), settings=SETTINGS, with_images=False)
    assert [place.image_id for place in places(report, "leak")] == [103]


def test_missing_files(tmp_path):
    data = planted.clean(tmp_path / "data")
    (train, images), _ = data.write()
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file or directory\); name a COCO instances JSON"):
        check_data((tmp_path / "none.json", images))
    with pytest.raises(UserError, match="none: is not a folder; name the folder of the images of"):
        check_data((train, tmp_path / "none"))


def test_similar_images_are_not_duplicates(tmp_path):
    """Images of the same colours and layout with other objects, flat images and negatives are no copies."""
    from PIL import Image

    data = planted.clean(tmp_path / "data", images=8)
    for k in range(3):
        Image.fromarray(np.full((planted.HEIGHT, planted.WIDTH, 3), 100 + k, np.uint8)).save(data.file(data.image(k)["file_name"]))
    Image.fromarray(255 - planted.pixels(data.image(4)["id"])).save(data.file(data.image(3)["file_name"]))
    rng = np.random.default_rng(0)
    for k in (5, 6):  # one background, dots at other places
        image = np.full((planted.HEIGHT, planted.WIDTH, 3), 200, np.uint8)
        for x, y in rng.integers(0, (planted.WIDTH - 8, planted.HEIGHT - 8), (12, 2)):
            image[y : y + 8, x : x + 8] = (180, 60, 60)
        Image.fromarray(image).save(data.file(data.image(k)["file_name"]))
    assert codes(check_data(*data.write(), settings=SETTINGS)) == set()


def test_progress_reaches_the_number_of_images(tmp_path):
    seen, totals = [], []
    check_data(*planted.clean(tmp_path / "data").write(), settings=SETTINGS, workers=2, on_start=totals.append, on_image=seen.append)
    assert (totals, seen) == ([6], [1, 2, 3, 4, 5, 6])


def test_the_report_has_count_example_effect_and_advice(everything):
    _, report = everything
    lines = report_lines(report)
    start = next(index for index, line in enumerate(lines) if " box-not-finite " in line)
    assert lines[start].split()[:3] == ["error", "box-not-finite", "1"]
    assert "bbox [1, 2, 3, NaN]" in lines[start + 1]
    assert lines[start + 2].strip() == "training: training stops while reading the file"
    assert lines[start + 3].strip() == "what to do: redraw them, or let --fix remove them"
    severities = [line.split()[0] for line in lines if line.split()[0] in SEVERITIES]
    ours = len(list(report.splits[0].findings))
    assert severities[:ours] == sorted(severities[:ours], key=SEVERITIES.index)
    content = report.to_json()
    json.dumps(content)
    assert len(content["findings"]) == content["errors"] + content["warnings"] + content["notes"]
    assert set(content["findings"][0]) == {"code", "severity", "split", "count", "what", "example", "effect", "advice"}
    assert set(content["findings"][0]["example"]) == {"file", "image_id", "annotation_id", "detail"}


@pytest.mark.slow
def test_a_hundred_thousand_annotations_take_seconds(tmp_path):
    rng = np.random.default_rng(0)
    corners, sides = rng.integers(0, 300, (100_000, 2)), rng.integers(20, 100, (100_000, 2))
    content = {
        "images": [{"id": k, "file_name": f"{k}.jpg", "width": 640, "height": 480} for k in range(10_000)],
        "annotations": [
            {"id": k + 1, "image_id": k % 10_000, "category_id": 1 + k % 3, "bbox": [*corner, *side], "area": 100}
            for k, (corner, side) in enumerate(zip(corners.tolist(), sides.tolist()))
        ],
        "categories": planted.CATEGORIES,
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    start = time.process_time()
    report = check_data((path, tmp_path), with_images=False)
    assert time.process_time() - start < 20
    assert report.splits[0].inventory.annotations == 100_000
    assert codes(report) == set()


@pytest.mark.parametrize(("amplitude", "expected"), [(1, {"image-similar"}), (7, set())])
def test_images_of_one_hash_must_be_nearly_equal(tmp_path, amplitude, expected):
    """A slope, and the same with a chessboard on it, which the hash does not see: correlations of .997 and .90 (standard deviation 14)."""
    slope = np.repeat(np.linspace(76, 124, 32)[None], 32, axis=0)
    board = np.indices((32, 32)).sum(axis=0) % 2 * 2 - 1
    thumbnails = [slope.astype(np.uint8), (slope + amplitude * board).astype(np.uint8)]
    facts = [ImageFacts(tmp_path / str(k), digest=bytes([k]), thumbnail=one) for k, one in enumerate(thumbnails)]
    findings = Findings("train", SETTINGS)
    check_duplicates([ImageEntry(k, k, str(k), (32, 32)) for k in range(2)], facts, findings)
    assert findings.codes() == expected


def test_pairs_of_copies_are_positions(tmp_path):
    """A slope, noise, the slope one level brighter, an unreadable file, the first file again."""
    slope = np.repeat(np.linspace(76, 124, 32)[None], 32, axis=0).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    facts = [ImageFacts(tmp_path / str(k), digest=bytes([k]), thumbnail=one) for k, one in enumerate([slope, noise, slope + 1])]
    facts += [ImageFacts(tmp_path / "3", problem=("image-broken", "")), ImageFacts(tmp_path / "4", digest=bytes([0]), thumbnail=slope)]
    assert sorted(pairs_of_copies(facts)) == [(0, 2), (0, 4)]
