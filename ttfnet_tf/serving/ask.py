"""Asking a server about image files: in requests of several, several at a time, with a name to every file that goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.serving.load import Load, run_jobs
from ttfnet_tf.serving.target import Client, Refused, Target, Unanswered


@dataclass
class Asked:
    """What came of it."""

    answered: list[tuple[Path, Detections]] = field(default_factory=list)  # in the order of the files
    failures: list[Failure] = field(default_factory=list)  # in the order of the files
    versions: list[int] = field(default_factory=list)  # that answered, rising; empty where the server does not tell
    first_seconds: float = 0.0  # of the first request, which opens the connection and is not part of `load`
    load: Load | None = None  # of the others


def connect(target: Target) -> Client:
    """A client that speaks the target's protocol. Nothing is sent yet.

    Raises:
        UserError: a package that the protocol needs is not installed.
    """
    if target.protocol == "grpc":
        from ttfnet_tf.serving.grpc_client import GrpcClient

        return GrpcClient(target)
    from ttfnet_tf.serving.rest import RestClient

    return RestClient(target)


def ask_about(
    client: Client,
    files: Sequence[Path],
    to_detections: Callable[[Path, dict[str, np.ndarray], int], Detections],
    *,
    batch_size: int,
    concurrency: int,
    requests: int = 0,
) -> Asked:
    """Asks about every file at least once.

    Args:
        client: see `connect`.
        files: at least one.
        to_detections: from a file, the server's outputs and a row to the detections.
        batch_size: files of one request. A request that is refused is taken apart, so that one file does not cost the others.
        concurrency: requests at a time.
        requests: how many to time, from the first file again after the last; at least what it takes to ask about every file.

    Raises:
        UserError: there is no server, model or signature.
    """
    batches = [list(files[start : start + batch_size]) for start in range(0, len(files), batch_size)]
    questions = _Questions(client, batches)
    start = time.perf_counter()
    questions.ask(0, questions.read(0))
    asked = Asked(first_seconds=time.perf_counter() - start)
    jobs = [number % len(batches) for number in range(1, 1 + max(requests, len(batches) - 1))]
    if jobs:
        asked.load = run_jobs(jobs, questions.read, questions.ask, concurrency=concurrency)
    asked.versions = sorted(questions.versions)
    for file in files:
        if file not in questions.answers:
            asked.failures.append(questions.failures[file])
            continue
        try:
            asked.answered.append((file, to_detections(file, *questions.answers[file])))
        except UserError as error:
            asked.failures.append(Failure(str(file), str(error)))
    return asked


class _Questions:
    """The batches with what the server said about them; called from many threads, each of which adds entries of its own."""

    def __init__(self, client: Client, batches: list[list[Path]]):
        self.client, self.batches = client, batches
        self.answers: dict[Path, tuple[dict[str, np.ndarray], int]] = {}  # outputs and row, of the first answer
        self.failures: dict[Path, Failure] = {}
        self.versions: set[int] = set()

    def read(self, index: int) -> list[tuple[Path, bytes]]:
        """The files of a batch that can be read."""
        contents = []
        for file in self.batches[index]:
            try:
                contents.append((file, file.read_bytes()))
            except OSError as error:
                self._fail(file, f"cannot be read ({error.strerror})")
        return contents

    def ask(self, index: int, contents: list[tuple[Path, bytes]]) -> int:
        """Sends a batch; returns the number of images answered, 0 if something in it was refused."""
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
                    self.ask(index, [one])
            return 0
        if reply.version is not None:
            self.versions.add(reply.version)
        for row, (file, _) in enumerate(contents):
            self.answers.setdefault(file, (reply.outputs, row))
        return len(contents)

    def _fail(self, file: Path, reason: str) -> None:
        self.failures[file] = Failure(str(file), f"{file}: {reason}")
