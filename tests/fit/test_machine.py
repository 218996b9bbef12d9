"""The time of a convolution, on a machine whose clocks are ours."""

import pytest

from ttfnet_tf.fit import machine


@pytest.mark.parametrize(
    ("wall", "processor", "on_gpu", "expected"),
    [
        (0.2, 0.4, False, 0.2),  # two idle cores: both work all the time
        (0.3, 0.4, False, 0.2),  # others take a third
        (0.8, 0.4, False, 0.4),  # half of the time at least: a machine of many cores does not use all of them
        (0.2, 0.1, True, 0.2),
    ],
)
def test_what_others_take_does_not_count(monkeypatch, wall, processor, on_gpu, expected):
    clocks = {"wall": 0.0, "processor": 0.0}

    def call():
        clocks["wall"] += wall
        clocks["processor"] += processor

    monkeypatch.setattr(machine.time, "monotonic", lambda: clocks["wall"])
    monkeypatch.setattr(machine.time, "process_time", lambda: clocks["processor"])
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine._seconds(call, on_gpu=on_gpu) == pytest.approx(expected)
