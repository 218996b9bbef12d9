"""A tf.data service of a dispatcher and two workers in processes of their own, on loopback."""

import collections
import contextlib
import json
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.data import packing, service
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.pipeline import build_train_dataset, iterate, steps_per_epoch
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.ttfnet import ttfnet

SIZE, BATCH, IMAGES = (32, 64), 4, 42
SERVER = """
import sys, tensorflow as tf
kind, address = sys.argv[1:]
services = tf.data.experimental.service
if kind == "dispatcher":
    server = services.DispatchServer(services.DispatcherConfig(port=int(address)))
else:
    server = services.WorkerServer(services.WorkerConfig(dispatcher_address=address))
print("started", flush=True)
server.join()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(annotations, images, packed folder)."""
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    rng, images, annotations = np.random.default_rng(2), [], []
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(root / "images" / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 40, "width": 48})
        annotations += [
            {"id": 10 * number + k + 1, "image_id": number, "category_id": 1, "bbox": [2 * k, 3, 9, 8]} for k in range(1 + number % 3)
        ]
    (root / "a.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}))
    packing.pack(root / "a.json", root / "images", root / "packed", shards=3)
    return root / "a.json", root / "images", root / "packed"


def _train(data, images, **changes):
    settings = {"image_size": SIZE, "batch_size": BATCH, "seed": 3, "backend": "device", "method": ttfnet(image_size=SIZE, num_classes=1)}
    return build_train_dataset(load_coco(data[0], images, training=True), **{**settings, **changes})


def _take(dataset, count):
    return [{name: value.numpy() for name, value in batch.items()} for batch in iterate(dataset.take(count))]


def _free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def servers():
    """(address, [dispatcher, worker, worker])."""
    port = _free_port()
    with contextlib.ExitStack() as stack:
        processes = []
        for kind, address in (("dispatcher", str(port)), ("worker", f"localhost:{port}"), ("worker", f"localhost:{port}")):
            command = [sys.executable, "-c", SERVER, kind, address]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
            stack.callback(process.kill)
            processes.append(process)
            if kind == "dispatcher":
                assert process.stdout.readline() == "started\n"
        for process in processes[1:]:
            assert process.stdout.readline() == "started\n"
        yield f"grpc://localhost:{port}", processes


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["device", "py_function"])
def test_the_service_gives_the_batches_of_training_from_files_in_order(data, servers, backend):
    """More than an epoch from the middle of one; each image of an epoch comes once."""
    steps = steps_per_epoch(IMAGES, BATCH)
    changes = {"start_step": 3, "backend": backend}
    expected = _take(_train(data, data[1], **changes), 2 * steps)
    found = _take(_train(data, data[2], service=servers[0], workers=2, **changes), 2 * steps)
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].tobytes() == other[name].tobytes(), name
    ids = np.concatenate([batch["image_id"] for batch in found[steps - 3 : 2 * steps - 3]])
    assert sorted(ids[:IMAGES]) == list(range(IMAGES))


@pytest.mark.slow
def test_workers_that_end_stop_training_in_one_line(data, servers, monkeypatch):
    """Last in this file: the workers stay away. One takes the batches that it has begun with it, if it has begun any."""
    monkeypatch.setattr(service, "BATCH_SECONDS", 30)
    expected, found = iterate(_train(data, data[1])), iterate(_train(data, data[2], service=servers[0], workers=2))
    for _ in range(3):
        assert next(found)["image"].numpy().tobytes() == next(expected)["image"].numpy().tobytes()
    servers[1][1].kill()
    address = r"data\.service=grpc://localhost:\d+"
    stopped = ""
    try:
        for _ in range(100):
            assert next(found)["image"].numpy().tobytes() == next(expected)["image"].numpy().tobytes()
    except UserError as error:
        stopped = str(error)
    if stopped:
        assert re.match(f"{address}: a batch does not come, a worker has ended with it", stopped)
        found = iterate(_train(data, data[2], service=servers[0], workers=2))
        next(found)
    servers[1][2].kill()
    with pytest.raises(UserError, match=rf"{address}: no batch for \d+ s; check that its workers run"):
        collections.deque(found, maxlen=0)


def test_nobody_answers(data):
    address = f"grpc://localhost:{_free_port()}"
    with pytest.raises(UserError, match=rf"data\.service={address}: nobody answers there \(.*refused\); start the dispatcher"):
        _train(data, data[2], service=address)


@pytest.mark.parametrize(("images", "changes"), [(1, {}), (2, {"augment": Augmentation(affine=True)})], ids=["files", "other changes"])
def test_what_needs_python_is_refused(data, monkeypatch, images, changes):
    monkeypatch.setattr("ttfnet_tf.data.pipeline.check_service", lambda address: None)
    with pytest.raises(UserError, match="its workers read packed images only"):
        _train(data, data[images], service="grpc://localhost:1", **changes)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [0, 2, 3, 1]])
def test_batches_leave_in_the_order_of_their_steps(order, monkeypatch):
    """The service is replaced by one that permutes its batches."""
    import tensorflow as tf

    permuted = tf.constant(order, tf.int64)
    monkeypatch.setattr(tf.data.experimental.service, "distribute", lambda *_, **__: lambda dataset: dataset)
    places = tf.data.Dataset.range(4000).map(lambda k: k // 4 * 4 + permuted[k % 4])
    dataset = places.map(lambda k: {"step": 5 + k[None], "x": tf.cast(k, tf.float32)[None]})
    found = service.read_in_order(dataset, "grpc://localhost:1", first_step=5, lost="lost", silent="silent").take(4)
    assert [one["x"].numpy().tolist() for one in found] == [[0.0], [1.0], [2.0], [3.0]]
    assert found.element_spec == {"x": tf.TensorSpec([1], tf.float32)}


def test_a_batch_that_never_comes_is_an_error(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.data.experimental.service, "distribute", lambda *_, **__: lambda dataset: dataset)
    dataset = tf.data.Dataset.range(1, 100).map(lambda k: {"step": k[None], "x": k[None]})
    with pytest.raises(tf.errors.InvalidArgumentError, match="lost"):
        list(service.read_in_order(dataset, "grpc://localhost:1", first_step=0, lost="lost", silent="silent"))


def test_a_silent_service_is_an_error(monkeypatch):
    """Its only batch is of a step that is not due."""
    import tensorflow as tf

    monkeypatch.setattr(service, "BATCH_SECONDS", 2)
    monkeypatch.setattr(tf.data.experimental.service, "distribute", lambda *_, **__: lambda dataset: dataset)
    dataset = tf.data.Dataset.range(1, 2).map(lambda k: {"step": k[None], "x": k[None]})
    with pytest.raises(tf.errors.InvalidArgumentError, match="silent"):
        list(service.read_in_order(dataset, "grpc://localhost:1", first_step=0, lost="lost", silent="silent"))
