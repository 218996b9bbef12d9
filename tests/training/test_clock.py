"""Time of training: what counts and what does not."""

from types import SimpleNamespace

from ttfnet_tf.training.clock import TrainingClock, seconds_before


def _clock(seconds=0.0, step=0):
    now = SimpleNamespace(time=100.0)
    return now, TrainingClock(seconds, step, 8, clock=lambda: now.time)


def test_laps_add_up_and_evaluation_does_not_count():
    now, clock = _clock()
    now.time += 4
    clock.wait(0.75)
    clock.wait(0.25)
    assert clock.lap(10) == {"images_per_second": 20.0, "data_wait": 0.25, "training_seconds": 4.0}
    now.time += 30  # an evaluation
    clock.restart(10)
    now.time += 2
    assert clock.lap(15) == {"images_per_second": 20.0, "data_wait": 0.0, "training_seconds": 6.0}
    assert clock.seconds == 6.0


def test_a_run_that_resumes_counts_from_what_it_had():
    now, clock = _clock(seconds=50.0, step=40)
    now.time += 2
    clock.wait(5.0)
    assert clock.lap(41) == {"images_per_second": 4.0, "data_wait": 1.0, "training_seconds": 52.0}  # waits of two threads


def test_seconds_of_an_earlier_part_are_those_of_its_last_line():
    assert seconds_before([]) == 0
    assert seconds_before([{"step": 1, "loss": 2.0}]) == 0  # of a version that did not write them
    assert seconds_before([{"step": 1, "training_seconds": 2.5}, {"step": 2, "training_seconds": 4}, {"step": 2, "AP": 0.1}]) == 4
