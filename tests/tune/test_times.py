"""How the time of a study is divided."""

import pytest

from ttfnet_tf.tune.times import Times, mark_passed, usual_trial_minutes


@pytest.mark.parametrize(("minutes", "trial"), [(120, 10.0), (60, 5.0), (7, 1.0), (100, 8.33)])
def test_a_trial_is_a_twelfth_and_at_least_a_minute(minutes, trial):
    assert usual_trial_minutes(minutes) == trial


def test_a_trial_begins_where_it_can_end():
    times = Times(study=3600, trial=600)
    assert times.can_begin(3000)
    assert not times.can_begin(3001)
    times.longest = 630  # with start and end of its process
    assert times.can_begin(2970)
    assert not times.can_begin(2971)


def test_a_trial_that_resumes_needs_what_is_left_and_what_was_lost():
    times = Times(study=3600, trial=600)
    # 600 - 400, 12 s since the last checkpoint, 30 s of start.
    assert times.can_begin(3600 - 242, 400)
    assert not times.can_begin(3600 - 241, 400)
    assert times.can_begin(3000, 10)  # never more than a whole trial


def test_a_trial_is_late_by_its_own_time_and_by_that_of_the_study():
    times = Times(study=3600, trial=600)
    assert not times.is_late(1000, 810)
    assert times.is_late(1000, 811)
    assert not times.is_late(3888, 600)
    assert times.is_late(3889, 600)


@pytest.mark.parametrize(
    ("seconds", "reported", "mark"),
    [(29, (), None), (30, (), 30), (35, (30,), None), (41, (30,), 40), (59, (), 50), (99, (30, 60), None), (99, (30, 50), 60)],
)
def test_marks_are_reported_once_and_the_last_one_counts(seconds, reported, mark):
    assert mark_passed(seconds, 100, reported) == mark
