"""Progress with a clock that the test turns."""

import io

import pytest

from ttfnet_tf.progress import ProgressMeter, duration


class _Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return _Clock()


def test_lines_come_every_so_often_and_at_the_end(clock):
    out = io.StringIO()
    with ProgressMeter("train", 100, pictures_per_step=8, plain_every=10, stream=out, clock=clock) as meter:
        for step in range(1, 101):
            clock.now += 0.5
            meter.update(step, {"loss": 1.23456, "lr": 0.008})
        meter.update(100, {"loss": 1.0, "lr": 0.008})  # says nothing new
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/100", "21/100", "41/100", "61/100", "81/100", "100/100"]
    assert lines[1] == "train 21/100  loss 1.235  lr 0.008  16.0 images/s  40 s left"
    assert lines[-1] == "train 100/100  loss 1.235  lr 0.008  16.0 images/s"


def test_speed_counts_from_where_a_resumed_run_starts(clock):
    meter = ProgressMeter("train", 100, start=60, stream=io.StringIO(), clock=clock)
    assert (meter.pictures_per_second, meter.seconds_left) == (0.0, None)
    clock.now = 5.0
    meter.update(70)
    assert meter.pictures_per_second == pytest.approx(2.0)
    assert meter.seconds_left == pytest.approx(15.0)


def test_speed_is_that_of_the_last_minute(clock):
    meter = ProgressMeter("train", 10_000, stream=io.StringIO(), clock=clock)
    for step in range(1, 101):  # slow at first
        clock.now += 10.0
        meter.update(step)
    for step in range(101, 401):
        clock.now += 1.0
        meter.update(step)
    assert meter.pictures_per_second == pytest.approx(1.0)


def test_messages_stay(clock):
    out = io.StringIO()
    with ProgressMeter("train", 10, stream=out, clock=clock) as meter:
        meter.message("epoch 1: AP [0.5]")
    assert out.getvalue() == "epoch 1: AP [0.5]\n"


def test_a_terminal_gets_one_live_line_and_messages_above_it(clock):
    out = io.StringIO()
    with ProgressMeter("train", 10, stream=out, live=True, clock=clock) as meter:
        for step in range(1, 11):
            clock.now += 1.0
            meter.update(step, {"loss": 0.5})
        meter.message("AP [bold]")
    text = out.getvalue()
    assert "AP [bold]" in text  # brackets are text, not markup
    assert "10/10" in text
    assert text.count("\n") < 10


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (59.7, "1:00 min"), (125, "2:05 min"), (3600, "1:00 h"), (7384, "2:03 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
