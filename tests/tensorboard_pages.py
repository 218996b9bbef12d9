"""TensorBoard on a run, looked at by a headless browser. `python tests/tensorboard_pages.py RUN OUT` makes the images of docs/."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Page -> (width, height) of its image in pixels.
PAGES = {
    "custom_scalars": (1280, 960),
    "timeseries": (1280, 900),
    "images": (1280, 1240),
    "pr_curves": (1280, 900),
    "hparams": (1700, 360),
    "text": (1280, 760),
}


class Server:
    """A running TensorBoard."""

    def __init__(self, port: int):
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str):
        """The JSON that TensorBoard itself draws from, e.g. get("plugin/scalars/tags")."""
        url = f"{self.address}/data/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def lengths(self) -> dict[str, dict[str, int]]:
        """Run -> name of a scalar -> number of its values."""
        tags = self.get("plugin/scalars/tags")
        return {run: {tag: len(self.get("plugin/scalars/scalars", run=run, tag=tag)) for tag in names} for run, names in tags.items()}

    def post(self, path: str, content):
        """As `get`, for the pages that send their question."""
        request = urllib.request.Request(f"{self.address}/data/{path}", json.dumps(content).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def serve(run: str | Path, *, fast: bool = True, timeout: float = 120) -> Iterator[Server]:
    """TensorBoard on 127.0.0.1; `fast` reads through its data server, else through its Python reader."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--host", "127.0.0.1", "--port", str(port)]
    command += [f"--load_fast={str(fast).lower()}", "--reload_interval", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server, end, before = Server(port), time.monotonic() + timeout, None
        while True:
            try:
                seen = server.lengths()
                # Values come run by run: all are there once nothing is added any more.
                if {"train", "eval", "time"} <= set(seen) and seen == before:
                    break
                before = seen
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"TensorBoard ended with code {process.returncode}") from None
            if time.monotonic() > end:
                raise TimeoutError("TensorBoard does not show the run")
            time.sleep(4)  # two reloads
        yield server
    finally:
        process.terminate()
        process.wait(30)


def browse(*arguments: str) -> str:
    """What headless Chromium writes to standard output; pages get 20 s of their own time to load."""
    with tempfile.TemporaryDirectory() as profile:
        command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=20000"]
        done = subprocess.run([*command, f"--user-data-dir={profile}", *arguments], capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def screenshot(server: Server, page: str, file: Path) -> Image.Image:
    """RGB image of a page, also in `file`."""
    browse(f"--screenshot={file}", "--window-size={},{}".format(*PAGES[page]), f"{server.address}/#{page}")
    with Image.open(file) as image:
        return image.convert("RGB")


def main(run: str, out: str) -> None:
    with serve(run) as server:
        for page in PAGES:
            file = Path(out) / f"tensorboard_{page}.png"
            image = screenshot(server, page, file)
            image.quantize(144, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, optimize=True)
            print(f"{file}: {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main(*sys.argv[1:])
