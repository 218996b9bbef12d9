"""Threads around the network: one reads items ahead, another writes the results. Short queues between them keep the order."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_QUEUE_LENGTH = 4  # items between two stages
_PATIENCE = 0.2  # seconds between two looks whether to stop, while no item comes
Item = TypeVar("Item")


class Prefetcher:
    """Iterates over items that a thread reads ahead.

    Use it as a context manager; leaving it ends the thread.

    Args:
        items: iterated over in the thread; an error in it is raised at the next item here.
        newest: keep only the newest item and drop older ones that were not yet asked for.
        should_stop: asked while there is no item; True ends the iteration.
    """

    def __init__(self, items: Iterable[Item], *, newest: bool = False, should_stop: Callable[[], bool] = lambda: False):
        self._items, self._newest, self._should_stop = items, newest, should_stop
        self._queue: queue.Queue = queue.Queue(1 if newest else _QUEUE_LENGTH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)  # a camera that hangs must not keep the program

    def __iter__(self) -> Iterator:
        while True:
            try:
                kind, item = self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                if self._should_stop():
                    return
                continue
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
        except BaseException as error:  # raised again in `__iter__`
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


class BackgroundWorker:
    """Calls a function with one item after the other in a thread.

    Use it as a context manager; leaving it waits until all items are done. An error of the function is raised at the next item, or on
    leaving.

    Args:
        function: called in the thread, in the order of the items.
    """

    def __init__(self, function: Callable[[Item], None]):
        self._function = function
        self._queue: queue.Queue = queue.Queue(_QUEUE_LENGTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> BackgroundWorker:
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
            if self._error is None:  # after an error the other items are dropped, so that no caller waits for room in the queue
                try:
                    self._function(item)
                except BaseException as error:
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, RuntimeError("stopped after an error")
            raise error
