"""`ttfnet serve-client`: the message of each mistake, and the file that it writes."""

import json

import pytest
from PIL import Image
from served_answers import rest_body

from ttfnet_tf import cli


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--timeout", "0"], "--timeout 0 must be above 0"),
        (["--tolerance", "nan"], "--tolerance nan must be above 0"),
        (["--concurrency", "0"], "--concurrency 0 must be 1 or more"),
        (["--requests", "0"], "--requests 0 must be 1 or more"),
        (["--batch-size", "-1"], "--batch-size -1 must be 1 or more"),
        (["--version", "0"], "--version 0 must be 1 or more"),
        (["--version", "1", "--label", "stable"], "--label: not allowed with argument --version"),
        (["--score-threshold", "1"], "--score-threshold 1 must lie in 0..1"),
        (["--address", "host:port"], "--address host:port: expected HOST or HOST:PORT"),
        (["--labels", "nowhere.json"], "nowhere.json: is missing or is no labels.json"),
        (["--verify", "nowhere"], "nowhere: no such run or checkpoint"),
        (["data.image_size=[64,64]"], "data.image_size=[64,64]: is a setting of --verify; the server's model has its own"),
        (
            ["--verify", "nowhere", "data.resize=letterbox"],
            "override 'data.resize=letterbox': serve-client takes data.image_size=[H,W] and no other setting",
        ),
    ],
)
def test_mistakes_in_arguments(tmp_path, capsys, arguments, expected):
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    assert cli.main(["serve-client", "mine", str(tmp_path / "a.png"), *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert expected in line


def test_no_images(tmp_path, capsys):
    assert cli.main(["serve-client", "mine", str(tmp_path)]) == 2
    assert "no image in this folder" in capsys.readouterr().err


def test_no_server_is_one_line_and_exit_code_2(tmp_path, capsys, closed_port):
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    command = ["serve-client", "mine", str(tmp_path), "--protocol", "rest", "--address", f"127.0.0.1:{closed_port}"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "no rest server answers there (Connection refused)" in line


def test_detections_are_written_in_the_form_of_predict(tmp_path, capsys, rest_server):
    Image.new("L", (100, 200)).save(tmp_path / "a.png")
    (tmp_path / "labels.json").write_text('{"class_names": ["cat"], "category_ids": [3]}')
    server = rest_server([(200, rest_body(1))] * 2)
    out = tmp_path / "out"
    command = ["serve-client", "mine", str(tmp_path / "a.png"), "nowhere.png", "--label", "stable", "--protocol", "rest"]
    command += ["--address", f"127.0.0.1:{server.server_address[1]}", "--labels", str(tmp_path / "labels.json"), "--out", str(out)]
    for _ in range(2):  # its own file is overwritten
        assert cli.main(command) == 0
    assert "mine label stable at 127.0.0.1" in capsys.readouterr().out
    record = json.loads((out / "detections.json").read_text())
    [image] = record["images"]
    [found] = image.pop("detections")
    assert image == {"file": str(tmp_path / "a.png"), "height": 200, "width": 100}
    assert found.pop("box") == pytest.approx([20, 20, 75, 100])
    assert found == {"score": pytest.approx(0.9), "class_id": 3, "class_name": "cat"}
    assert record["failed"] == [{"source": "nowhere.png", "reason": "nowhere.png: no such file"}]
    (out / "detections.json").write_text('{"images": []}')
    assert cli.main(command) == 2
    assert "was not written by serve-client" in capsys.readouterr().err
