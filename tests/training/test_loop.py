"""The training loop with stand-ins for the training function and what it writes: when the host reads, what becomes a checkpoint."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from ttfnet_tf.training import run
from ttfnet_tf.training.divergence import Counts, Decision
from ttfnet_tf.training.intervals import Intervals
from ttfnet_tf.training.loop import TrainingLoop


class History(Mapping):
    """Notes the first look at its values."""

    def __init__(self, step, events, *, good=True):
        self.values_of = {"proceed": np.array([good]), "loss": np.ones(1), "gradient_norm": np.ones(1)}
        self.step, self.events = step, events

    def __getitem__(self, name):
        if name == "proceed":
            self.events.append(f"read {self.step}")
        return self.values_of[name]

    def __iter__(self):
        return iter(self.values_of)

    def __len__(self):
        return len(self.values_of)


@pytest.fixture
def make_loop(monkeypatch):
    """make_loop(bad steps, intervals, decision) -> (loop, what happened)."""

    def make(bad=(), *, decision=Decision.SKIP, total=6, log_every=100, stop_at=None):
        events, stands_still = [], []

        def train(data, rates, step):
            events.append(f"begin {step}")
            good = step not in bad and not stands_still
            if not good:
                stands_still.append(step)
            return History(step, events, good=good)

        def handle(loop, found):
            events.append(f"bad {found.step}")
            stands_still.clear()
            return found.step + 1

        monkeypatch.setattr(TrainingLoop, "_handle", handle)
        monkeypatch.setattr(TrainingLoop, "_add_good_steps", lambda loop, step, rates, history: None)
        recorder = SimpleNamespace(
            clock=SimpleNamespace(restart=lambda step: None),
            new_notes=lambda: None,
            progress=lambda step, lr: None,
            line=lambda step, means, lr: events.append(f"line {step}"),
            sync=lambda: None,
            folder=SimpleNamespace(writes=True),
        )
        loop = TrainingLoop(
            strategy=SimpleNamespace(scope=lambda: _Nothing()),
            state=SimpleNamespace(
                window=SimpleNamespace(means=dict, clear=lambda: None, to_variable=lambda: None, names=("loss", "gradient_norm")),
                loss_scale=None,
                sentinel=SimpleNamespace(mean=SimpleNamespace(numpy=lambda: 1.0)),
            ),
            train=train,
            learning_rate=lambda step: 0.1,
            batches=lambda number: [number],
            intervals=Intervals(steps_per_epoch=total, epochs=1, log_every=log_every, evaluate_every=0),
            store=SimpleNamespace(saved_step=None, save=lambda step: events.append(f"save {step}")),
            policy=SimpleNamespace(counts=Counts(0, 0, 0), before_checkpoint=lambda: None),
            step_recorder=None,
            recorder=_Entered(recorder),
            evaluator=None,
            images=None,
            profile=SimpleNamespace(before=lambda *_: None, after=lambda step: None, is_on=False, close=lambda: None),
        )
        return loop, events

    return make


class _Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class _Entered(_Nothing):
    def __init__(self, recorder):
        self.__dict__.update(vars(recorder))


def test_a_call_is_read_after_the_next_one_has_begun_and_all_are_read_before_a_line_or_a_checkpoint(make_loop):
    loop, events = make_loop(total=4, log_every=3)
    assert loop.run(0, lambda: False).finished
    assert events == [
        *("begin 0", "begin 1", "read 0", "begin 2", "read 1", "read 2", "line 3"),
        *("begin 3", "read 3", "line 4", "save 4", "save 4"),
    ]


def test_the_call_that_began_after_a_bad_step_is_dropped_and_its_data_are_read_again(make_loop):
    loop, events = make_loop(bad=(1,), total=4)
    loop.run(0, lambda: False)
    assert events[:7] == ["begin 0", "begin 1", "read 0", "begin 2", "read 1", "bad 1", "begin 2"]
    assert events[7:] == ["begin 3", "read 2", "read 3", "line 4", "save 4", "save 4"]


def test_workers_stop_by_the_answer_to_the_question_before(monkeypatch):
    monkeypatch.setattr(run, "any_worker", lambda strategy: lambda flag: flag > 0)
    stop = SimpleNamespace(requested=False)
    must_stop = run._must_stop(None, stop, agree=True)
    assert [must_stop(), must_stop()] == [False, False]
    stop.requested = True
    assert [must_stop(), must_stop(), must_stop()] == [False, True, True]
    assert run._must_stop(None, stop, agree=False)()


def test_a_request_to_stop_reads_the_last_call_before_the_checkpoint(make_loop):
    loop, events = make_loop(bad=(1,), total=9)
    answers = iter([False, False, True, True, True])
    result = loop.run(0, lambda: next(answers))
    assert events == ["begin 0", "begin 1", "read 0", "read 1", "bad 1", "save 2"]
    assert (result.step, result.finished) == (2, False)
