"""Sends image files to a server, several in a request and several requests at a time; a file that fails does not cost the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.serving.client import Client
from ttfnet_tf.serving.errors import Refused, Unanswered
from ttfnet_tf.serving.latency import Latencies, run_requests


@dataclass
class Served:
    """What the server answered."""

    answered: list[tuple[Path, Detections]] = field(default_factory=list)  # in the order of the files
    failures: list[Failure] = field(default_factory=list)  # in the order of the files
    versions: list[int] = field(default_factory=list)  # that answered, ascending; empty where the server does not say
    first_seconds: float = 0.0  # of the first request, which opens the connection and is not in `latencies`
    latencies: Latencies | None = None  # of the other requests


def send_images(
    client: Client,
    files: Sequence[Path],
    to_detections: Callable[[Path, dict[str, np.ndarray], int], Detections],
    *,
    batch_size: int,
    concurrency: int,
    requests: int = 0,
) -> Served:
    """Sends every file at least once.

    Args:
        client: see `client.connect`.
        files: at least one.
        to_detections: from a file, the outputs of its request and its row in them to its detections.
        batch_size: files of one request; a refused request is repeated file by file.
        concurrency: requests at a time.
        requests: how many to time, going through the files again and again; at least enough to send every file.

    Raises:
        UserError: there is no server, model or signature.
    """
    batches = [list(files[start : start + batch_size]) for start in range(0, len(files), batch_size)]
    requester = _Requester(client, batches)
    start = time.perf_counter()
    requester.send(0, requester.read(0))
    served = Served(first_seconds=time.perf_counter() - start)
    jobs = [number % len(batches) for number in range(1, 1 + max(requests, len(batches) - 1))]
    if jobs:
        served.latencies = run_requests(jobs, requester.read, requester.send, concurrency=concurrency)
    served.versions = sorted(requester.versions)
    for file in files:
        if file not in requester.answers:
            served.failures.append(requester.failures[file])
            continue
        try:
            served.answered.append((file, to_detections(file, *requester.answers[file])))
        except UserError as error:
            served.failures.append(Failure(str(file), str(error)))
    return served


class _Requester:
    """Reads and sends batches, and collects the answers; called from many threads, each of which adds its own entries."""

    def __init__(self, client: Client, batches: list[list[Path]]):
        self.client, self.batches = client, batches
        self.answers: dict[Path, tuple[dict[str, np.ndarray], int]] = {}  # file -> (outputs, row) of its first answer
        self.failures: dict[Path, Failure] = {}
        self.versions: set[int] = set()

    def read(self, index: int) -> list[tuple[Path, bytes]]:
        """The readable files of a batch, with their bytes."""
        contents = []
        for file in self.batches[index]:
            try:
                contents.append((file, file.read_bytes()))
            except OSError as error:
                self._fail(file, f"cannot be read ({error.strerror})")
        return contents

    def send(self, index: int, contents: list[tuple[Path, bytes]]) -> int:
        """Sends a batch; returns the number of images answered, 0 if one of them was refused."""
        if not contents:
            return 0
        try:
            reply = self.client.predict([content for _, content in contents])
        except Unanswered as error:
            for file, _ in contents:
                self._fail(file, str(error))
            return 0
        except Refused as error:
            if len(contents) == 1:
                self._fail(contents[0][0], f"refused by the server: {error}")
            else:
                for one in contents:
                    self.send(index, [one])
            return 0
        if reply.version is not None:
            self.versions.add(reply.version)
        for row, (file, _) in enumerate(contents):
            self.answers.setdefault(file, (reply.outputs, row))
        return len(contents)

    def _fail(self, file: Path, reason: str) -> None:
        self.failures[file] = Failure(str(file), f"{file}: {reason}")
