"""Stages that run beside each other: one thread reads ahead, another works off what is done; short queues between them keep the order."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_WAITING = 4  # items between two stages
Item = TypeVar("Item")


class Ahead:
    """Iterates in a thread of its own, a few items before they are asked for. With `newest`, those that wait too long are dropped."""

    def __init__(self, items: Iterable[Item], *, newest: bool = False):
        self._items, self._newest = items, newest
        self._queue: queue.Queue = queue.Queue(1 if newest else _WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)  # a camera that hangs must not keep the program

    def __iter__(self) -> Iterator:
        while True:
            kind, item = self._queue.get()
            if kind == "item":
                yield item
            elif kind == "error":
                raise item
            else:
                return

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(("item", item), drop=self._newest):
                    return
            self._put(("end", None))
        except BaseException as error:  # goes to who asks for the next item
            self._put(("error", error))

    def _put(self, entry, drop: bool = False) -> bool:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(entry, timeout=0 if drop else 0.1)
                return True
            if drop:
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
        return False


class Behind:
    """Calls a function with one item after the other in a thread of its own; leaving the context waits for it to be done.

    An error of the function is raised at the next item, or on leaving.
    """

    def __init__(self, function: Callable[[Item], None]):
        self._function = function
        self._queue: queue.Queue = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Behind:
        self._thread.start()
        return self

    def __call__(self, item: Item) -> None:
        self._raise()
        self._queue.put(item)

    def __exit__(self, kind, *_) -> None:
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:  # after an error the rest is taken and left, so that nobody waits for room
                try:
                    self._function(item)
                except BaseException as error:
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, RuntimeError("stopped after an error")
            raise error
