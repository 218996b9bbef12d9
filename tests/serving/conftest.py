"""Servers on 127.0.0.1: none, one with prepared answers, and the stand-in with two versions of a small model."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import cv2
import networks
import numpy as np
import pytest
from PIL import Image
from small_run import image_files, write_run

LARGE = 12_000_000  # pixels that version 2 decodes


class Server(NamedTuple):
    """A running stand-in."""

    grpc: str  # address
    rest: str  # address
    replayed: int  # warm-up requests
    process: subprocess.Popen

    def memory(self, key: str) -> int:
        """VmRSS or VmHWM, the highest so far, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))

    def forget_peak(self) -> None:
        """Resets VmHWM to the memory in use now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Work directory of a run."""
    with pytest.MonkeyPatch.context() as patch:
        networks.narrow(patch)
        yield write_run(tmp_path_factory.mktemp("run") / "tiny", overrides=["model.neck=plain"])


@pytest.fixture(scope="module")
def base_path(trained, tmp_path_factory):
    """Folder of the run as version 1, and as version 2 with other weights and a higher limit of pixels."""
    from ttfnet_tf.export.saved_model import export_saved_model
    from ttfnet_tf.runs.checkpoint import load_run

    models, run = tmp_path_factory.mktemp("models"), load_run(trained)
    export_saved_model(run, models, name="tiny")
    for variable in run.model.variables:
        if variable.name.startswith("bbox_head.wh.1/kernel"):
            variable.assign(-variable)
    settings = dataclasses.replace(run.config, export=dataclasses.replace(run.config.export, max_pixels=LARGE))
    export_saved_model(dataclasses.replace(run, config=settings), models, name="tiny")
    return models / "tiny"


@pytest.fixture(scope="module")
def server(base_path, root, tmp_path_factory):
    """Serves deploy/config/models.config, with another name and folder and a second version."""
    text = (root / "deploy/config/models.config").read_text()
    for old, new in (
        ('name: "mine"', 'name: "tiny"'),
        ('"/models/mine"', f'"{base_path}"'),
        ("specific { versions: 1 }", "specific { versions: 1 versions: 2 }"),
        ('key: "canary" value: 1', 'key: "canary" value: 2'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    folder = tmp_path_factory.mktemp("server")
    (folder / "models.config").write_text(text)
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("stand_in.py")), str(folder / "models.config")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
    words = process.stdout.readline().split()
    assert words[:1] == [b"ready"], (folder / "log").read_text()[-2000:]
    grpc, rest, replayed = map(int, words[1:])
    yield Server(f"127.0.0.1:{grpc}", f"127.0.0.1:{rest}", replayed, process)
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folder of twelve images of several kinds and sizes, among them four CMYK JPEGs."""
    folder = tmp_path_factory.mktemp("images")
    for name, content in image_files().items():
        (folder / name).write_bytes(content)
    rng = np.random.default_rng(3)
    for number in range(4):
        inks = cv2.resize(rng.integers(0, 256, (20, 14, 4), np.uint8), (110, 80))
        inks[..., 3] //= 8  # not all of it black
        Image.fromarray(inks, "CMYK").save(folder / f"inks {number}.jpg")
    return folder


@pytest.fixture
def closed_port():
    """A port that refuses connections: bound, so that no other program takes it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def rest_server():
    """rest_server(answers) -> a server that gives these (status, body) one after the other, and counts connections and requests."""
    servers = []

    def start(answers, keep_alive=True):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                server.connections += 1
                super().setup()

            def do_POST(self):
                server.requests.append(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = next(server.answers)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = not keep_alive  # without saying so, as after an idle time

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answers, server.requests, server.connections = iter(answers), [], 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
