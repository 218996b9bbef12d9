"""The window of steps that TensorFlow's profiler records."""

import pytest
import tensorflow as tf

from ttfnet_tf.training.profiler import ProfileWindow


@pytest.fixture
def recorded(monkeypatch):
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    return calls


def _profile(window, recorded, steps_per_call, total=12):
    """When recording started and stopped: steps done."""
    seen = []
    for step in range(0, total, steps_per_call):
        window.before(step, steps_per_call)
        if recorded[len(seen) :]:
            seen.append(step)
        window.after(step + steps_per_call)
        if recorded[len(seen) :]:
            seen.append(step + steps_per_call)
    return seen


@pytest.mark.parametrize(("steps_per_call", "expected"), [(1, [4, 7]), (2, [4, 8]), (4, [4, 8]), (6, [0, 12])])
def test_the_profiler_records_the_calls_with_its_steps(tmp_path, recorded, steps_per_call, expected):
    assert _profile(ProfileWindow(tmp_path, [5, 7]), recorded, steps_per_call) == expected
    assert recorded == ["start", "stop"]


def test_a_window_may_be_off_or_cut_short(tmp_path, recorded):
    assert _profile(ProfileWindow(tmp_path, []), recorded, 1) == []
    assert _profile(ProfileWindow(tmp_path, [5, 7], writes=False), recorded, 1) == []
    window = ProfileWindow(tmp_path, [5, 99])
    window.before(4, 1)
    window.close()
    window.close()
    assert recorded == ["start", "stop"]
