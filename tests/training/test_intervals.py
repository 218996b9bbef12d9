"""When a run logs, evaluates and saves."""

import pytest

from ttfnet_tf.training.intervals import Intervals


def _steps(intervals, question):
    return [step for step in range(1, intervals.total_steps + 1) if question(step)]


def test_lines_are_logged_every_so_often_and_at_the_end_of_epochs():
    intervals = Intervals(steps_per_epoch=5, epochs=2, log_every=3)
    assert _steps(intervals, intervals.is_line) == [3, 5, 6, 9, 10]


@pytest.mark.parametrize(("steps_per_call", "ends"), [(1, list(range(1, 11))), (2, [2, 3, 5, 6, 8, 9, 10]), (100, [3, 5, 6, 9, 10])])
def test_a_call_does_not_run_past_a_line(steps_per_call, ends):
    intervals = Intervals(steps_per_epoch=5, epochs=2, log_every=3, steps_per_call=steps_per_call)
    done, step = [], 0
    while step < intervals.total_steps:
        step += intervals.steps_in_call(step)
        done.append(step)
    assert done == ends


@pytest.mark.parametrize(("every", "ends"), [(0, []), (1, [5, 10, 15, 20, 25]), (2, [10, 20, 25]), (7, [25])])
def test_evaluations_come_at_the_end_of_epochs_and_at_the_very_end(every, ends):
    intervals = Intervals(steps_per_epoch=5, epochs=5, evaluate_every=every)
    assert _steps(intervals, intervals.is_evaluation) == ends


def test_a_run_may_end_in_the_middle_of_an_epoch():
    intervals = Intervals(steps_per_epoch=5, epochs=12, steps=12, log_every=4, steps_per_call=100, checkpoint_every=2)
    assert intervals.total_steps == 12
    assert _steps(intervals, intervals.is_line) == [4, 5, 8, 10, 12]
    assert _steps(intervals, intervals.is_evaluation) == [5, 10, 12]
    assert _steps(intervals, intervals.is_checkpoint) == [10, 12]
    assert Intervals(steps_per_epoch=50, epochs=1, steps=12, log_every=50, steps_per_call=100).steps_in_call(10) == 2


@pytest.mark.parametrize(("every", "ends"), [(1, [5, 10, 15, 20, 25]), (2, [10, 20, 25]), (7, [25])])
def test_checkpoints_come_at_the_end_of_epochs_and_at_the_very_end(every, ends):
    intervals = Intervals(steps_per_epoch=5, epochs=5, checkpoint_every=every)
    assert _steps(intervals, intervals.is_checkpoint) == ends
