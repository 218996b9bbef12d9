"""The time of a convolution, on a machine whose clock is ours."""

import itertools

import pytest
import tensorflow as tf

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


@pytest.mark.parametrize(
    ("unit", "bfloat16", "expected"),
    [("amx_bf16", 0.025, 0.14 * 0.1 + 0.86 * 0.025), ("avx512_bf16", 0.2, 0.1), (None, 0.025, 0.1)],
    ids=["faster", "slower", "no units"],
)
def test_a_part_of_a_step_is_not_shorter_in_bfloat16(monkeypatch, unit, bfloat16, expected):
    monkeypatch.setattr(machine, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(machine, "convolution", lambda dtype: dtype)
    monkeypatch.setattr(machine, "_seconds", {tf.float32: 0.1, tf.bfloat16: bfloat16}.__getitem__)
    monkeypatch.setattr(machine, "CONVOLUTION_FLOPS", machine._FLOPS_OF_A_PIXEL)  # a pixel takes as long as a convolution
    assert machine.describe_machine().pixel_seconds == pytest.approx(expected)
