"""`ttfnet data check`: exit codes, files, settings."""

import json

import pytest
from doctor import planted

from ttfnet_tf import cli, progress


@pytest.fixture
def run(tmp_path, capsys):
    """run(data set, argument, ...) -> (exit code, standard output, standard error)."""

    def run(data, *arguments, val=True):
        (train, images), (other, _) = data.write()
        argv = ["data", "check", train, images, *(["--val", other, images] if val else []), "data.image_size=[256,256]", *arguments]
        code = cli.main([str(one) for one in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def data(tmp_path):
    return planted.clean(tmp_path / "data")


def test_a_clean_set(run, data, monkeypatch):
    monkeypatch.setattr(progress, "BRIEF_SECONDS", 0.0)  # else so few images are not worth a line
    code, out, err = run(data)
    assert code == 0
    assert out.splitlines()[0].endswith("train.json: 4 images, 12 annotations, 3 categories; images opened")
    assert out.splitlines()[-1] == "found: nothing"
    assert "check 6/6" in err


@pytest.mark.parametrize(("fault", "codes"), [("box-not-finite", (2, 2)), ("box-zero", (0, 2)), ("box-crowd", (0, 0))])
def test_exit_codes(run, data, fault, codes):
    planted.PLANTS[fault](data, 1, 900)
    assert (run(data)[0], run(data, "--strict")[0]) == codes


def test_findings_as_json(run, data, tmp_path):
    planted.PLANTS["box-zero"](data, 1, 900)
    code, out, _ = run(data, "--json", tmp_path / "findings.json")
    content = json.loads((tmp_path / "findings.json").read_text())
    assert (code, content["errors"], content["warnings"], content["notes"]) == (0, 0, 1, 0)
    (finding,) = content["findings"]
    assert (finding["code"], finding["count"], finding["example"]["image_id"]) == ("box-zero", 1, 102)
    assert f"written: {tmp_path / 'findings.json'}" in out


def test_fix_writes_a_file_that_passes(run, data, tmp_path):
    planted.PLANTS["box-not-finite"](data, 1, 900)
    code, out, _ = run(data, "--fix", tmp_path / "fixed.json")
    assert code == 2  # of the file that was checked
    assert f"{tmp_path / 'fixed.json'}, and the 1 removed or changed entries to {tmp_path / 'fixed.json'}.changes.jsonl" in out
    again = cli.main(["data", "check", str(tmp_path / "fixed.json"), str(data.folder / "images"), "data.image_size=[256,256]"])
    assert again == 0


def test_fix_refuses_an_existing_file_before_images_are_read(run, data, tmp_path):
    (tmp_path / "fixed.json").write_text("mine")
    code, out, err = run(data, "--fix", tmp_path / "fixed.json")
    assert (code, out) == (2, "")
    assert "fixed.json exists and is not overwritten; name a new file" in err
    assert (tmp_path / "fixed.json").read_text() == "mine"


def test_settings_come_from_the_configuration_and_the_line(run, data, tmp_path):
    (tmp_path / "a.yaml").write_text("data: {min_box_size: 16}")
    assert "box-below-minimum" in run(data, "--config", tmp_path / "a.yaml", "--no-images")[1]
    assert "box-below-minimum" not in run(data, "--config", tmp_path / "a.yaml", "--no-images", "data.min_box_size=1")[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train.seed=1"], "override 'train.seed=1': the findings depend on data.* and model.box_per_class only"),
        (["data.min_box_size=-1"], "data.min_box_size=-1.0 must be 0 or more"),
        (["--workers", "-1"], "--workers -1 must be 0 or more"),
    ],
)
def test_wrong_arguments(run, data, arguments, line):
    code, _, err = run(data, *arguments)
    assert (code, err) == (2, f"ttfnet: {line}\n")


def test_missing_files(run, data, tmp_path, capsys):
    data.write()
    assert cli.main(["data", "check", str(tmp_path / "none.json"), str(tmp_path)]) == 2
    assert "none.json: cannot be read (No such file or directory); name a COCO instances JSON" in capsys.readouterr().err
