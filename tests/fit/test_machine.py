"""The time of a convolution, on a machine whose clock is ours."""

import itertools

import pytest

from ttfnet_tf.fit import machine


def _seconds_of(monkeypatch, walls):
    """The result where calls take the given seconds, again and again, and the number of calls."""
    clock, calls, each = [0.0], [], itertools.cycle(walls)

    def call():
        calls.append(next(each))
        clock[0] += calls[-1]

    monkeypatch.setattr(machine.time, "monotonic", lambda: clock[0])
    return machine._seconds(call), len(calls)


def test_a_moment_in_which_the_machine_stood_still_does_not_count(monkeypatch):
    assert _seconds_of(monkeypatch, [0.2, 0.2, 0.2, 3.0]) == (pytest.approx(0.2), 8)


def test_what_others_take_all_the_time_counts(monkeypatch):
    """Three calls in four are slowed down."""
    assert _seconds_of(monkeypatch, [0.2, 0.7, 0.6, 0.5])[0] == pytest.approx(0.55)


def test_short_calls_are_timed_for_a_second(monkeypatch):
    assert _seconds_of(monkeypatch, [0.03125]) == (0.03125, 32)
