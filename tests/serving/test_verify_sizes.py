"""`serve-client --verify` with a model that was exported at another size than that of training, stretched and with letterbox."""

import json
import re

import networks
import pytest
import tensorflow as tf
from small_run import image_files, write_run

from ttfnet_tf import cli
from ttfnet_tf.serving.signature import OUTPUTS, SIGNATURE

SIZE = "data.image_size=[96,160]"  # the run has 64 x 96


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_served_boxes_are_those_of_the_run_at_that_size(tmp_path, rest_server, monkeypatch, capsys, resize):
    networks.narrow(monkeypatch)
    run = write_run(tmp_path / "tiny", overrides=[f"data.resize={resize}"])
    models, images = tmp_path / "models", tmp_path / "images"
    assert cli.main(["export", str(run), "--out", str(models), SIZE]) == 0
    images.mkdir()
    for name, content in image_files().items():
        (images / name).write_bytes(content)
    signature = tf.saved_model.load(str(models / "tiny" / "1")).signatures[SIGNATURE]
    answers = []
    for file in sorted(images.iterdir()):
        outputs = signature(**{SIGNATURE: tf.constant([file.read_bytes()])})
        answers.append((200, json.dumps({"predictions": [{name: outputs[name][0].numpy().tolist() for name in OUTPUTS}]}).encode()))

    def verified(*arguments):
        server = rest_server(answers)
        where = ["--protocol", "rest", "--address", f"127.0.0.1:{server.server_address[1]}", "--score-threshold", "0.2"]
        code = cli.main(["serve-client", "tiny", str(images), *where, "--verify", *map(str, arguments)])
        return code, capsys.readouterr().out

    code, out = verified(run, SIZE)
    found = re.search(r"verified against .*: (\d+) images, (\d+) detections, the same order and classes; largest difference", out)
    assert code == 0, out
    assert int(found[1]) == len(answers) == 8
    assert int(found[2]) > 20
    code, out = verified(run)
    assert (code, "not verified against" in out) == (1, True)
    assert verified(models / "tiny")[0] == 0
