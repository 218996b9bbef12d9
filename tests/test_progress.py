"""Progress with a clock that the test sets."""

import io
import re

import pytest

from ttfnet_tf.progress import ProgressMeter, duration, is_live, working


class _Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return _Clock()


def test_plain_lines_come_from_time_to_time_and_at_the_end(clock):
    out = io.StringIO()
    with ProgressMeter("train", 100, images_per_step=8, plain_every=10, stream=out, clock=clock) as meter:
        for step in range(1, 101):
            clock.now += 0.5
            meter.update(step, {"loss": 1.23456, "lr": 0.008})
        meter.update(100, {"loss": 1.0, "lr": 0.008})  # nothing new to print
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["4/100", "24/100", "44/100", "64/100", "84/100", "100/100"]
    assert lines[1] == "train 24/100  loss 1.235  lr 0.008  16.0 images/s  38 s left"
    assert lines[-1] == "train 100/100  loss 1.235  lr 0.008  16.0 images/s"


def test_an_unknown_total(clock):
    out = io.StringIO()
    with ProgressMeter("predict", None, plain_every=10, stream=out, clock=clock) as meter:
        for step in range(1, 31):
            clock.now += 0.5
            meter.update(step)
    assert out.getvalue().splitlines() == ["predict 4  2.0 images/s", "predict 24  2.0 images/s"]
    assert meter.seconds_left is None


def test_speed_counts_from_the_start_of_a_resumed_run(clock):
    meter = ProgressMeter("train", 100, start=60, stream=io.StringIO(), clock=clock)
    assert (meter.images_per_second, meter.seconds_left) == (0.0, None)
    clock.now = 5.0
    meter.update(70)
    assert meter.images_per_second == pytest.approx(2.0)
    assert meter.seconds_left == pytest.approx(15.0)


def test_speed_is_that_of_the_last_minute(clock):
    meter = ProgressMeter("train", 10_000, stream=io.StringIO(), clock=clock)
    for step in range(1, 101):  # slow at first
        clock.now += 10.0
        meter.update(step)
    for step in range(101, 401):
        clock.now += 1.0
        meter.update(step)
    assert meter.images_per_second == pytest.approx(1.0)


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


def test_short_work_prints_no_lines(clock):
    out = io.StringIO()
    with ProgressMeter("draw", 10, stream=out, clock=clock) as meter:
        for image in range(1, 11):
            clock.now += 0.1
            meter.update(image)
    assert out.getvalue() == ""


def test_other_work_is_reported_and_does_not_change_the_speed(clock):
    out = io.StringIO()
    with ProgressMeter("train", 10, plain_every=10, stream=out, clock=clock) as meter:
        for step in range(1, 6):
            clock.now += 1.0
            meter.update(step)
        for images in range(1, 31):
            clock.now += 1.0
            meter.aside("evaluate", images, 30)
        assert meter.images_per_second == pytest.approx(1.0)
        assert meter.done == 5
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["train 2/10", "train 5/10", "train 5/10", "train 5/10"]
    assert lines[1:] == [f"train 5/10  evaluate {images}/30" for images in (7, 17, 27)]


def test_the_live_line_comes_back_after_other_work(clock):
    out = io.StringIO()
    with ProgressMeter("train", 10, stream=out, live=True, clock=clock) as meter:
        clock.now += 1.0
        meter.update(5, {"loss": 0.5})
        meter.aside("evaluate", 29, 30)
        meter._bar.refresh()
        meter.aside("evaluate", 30, 30)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "5/10  evaluate 29/30" in lines
    assert lines.rstrip().endswith("5/10  1 s left  5.0 images/s  loss 0.5")


def test_a_narrow_terminal_keeps_the_remaining_time(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = io.StringIO()
    with ProgressMeter("train", 100, stream=out, live=True, clock=clock) as meter:
        clock.now += 1.0
        meter.update(10, {"epoch": "1.0", "heatmap": 1.25, "box": 0.5, "lr": 0.008})
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).splitlines()[-1]
    assert "10/100  9 s left" in last
    assert len(last) <= 60


def test_a_spinner_is_for_terminals_only_and_disappears():
    out = io.StringIO()
    with working("loading", stream=out, live=False):
        pass
    assert out.getvalue() == ""
    with working("loading [run]", stream=out, live=True):
        pass
    assert "loading [run]" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(("terminal", "term", "live"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)])
def test_live_lines_need_a_terminal_that_can_rewrite_them(monkeypatch, terminal, term, live):
    monkeypatch.setenv("TERM", term)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert is_live(stream) is live


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (59.7, "1:00 min"), (125, "2:05 min"), (3600, "1:00 h"), (7384, "2:03 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
