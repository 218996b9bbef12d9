"""The training loop with stand-ins for the training function and what it writes: when the host reads, what becomes a checkpoint."""

import dataclasses
import json
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from ttfnet_tf.training import run
from ttfnet_tf.training.divergence import Counts, Decision
from ttfnet_tf.training.intervals import Intervals
from ttfnet_tf.training.loop import TrainingLoop
from ttfnet_tf.training.mixing import Mixing
from ttfnet_tf.training.patience import Patience
from ttfnet_tf.training.schedule import Trapezoid
from ttfnet_tf.training.time_plan import TimePlan


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

    def make(bad=(), *, decision=Decision.SKIP, total=6, log_every=100, stop_at=None, **more):
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
            ended=lambda: None,
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
        loop = dataclasses.replace(loop, **more)
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


@pytest.mark.parametrize(("step", "starts"), [(0, [(0, False), (4, True)]), (4, [(4, True)]), (5, [(5, True)])])
def test_the_input_is_made_anew_where_mixing_ends(make_loop, step, starts):
    """The call that begins at the step where the cooldown begins has the first batch without mixed images, also after a resume."""
    found, mixing = [], Mixing(ends_with_cooldown=True, cooldown_step=4)
    loop, events = make_loop(total=6, mixing=mixing, batches=lambda number: found.append((number, mixing.is_over)) or [number])
    loop.run(step, lambda: False)
    assert found == starts
    assert [event for event in events if event.startswith("begin")] == [f"begin {k}" for k in range(step, 6)]


def test_the_clock_decides_where_mixing_ends():
    plan = TimePlan(Trapezoid.of(10, 0.3), 0)  # its cooldown begins at step 7
    budget = SimpleNamespace(is_planned=True, plan=plan)
    mixing = Mixing(ends_with_cooldown=True)
    assert [mixing.ends_by(step, budget) for step in (0, 6, 7, 10)] == [False, False, True, True]
    assert not mixing.ends_by(9, SimpleNamespace(is_planned=False))
    assert not Mixing().ends_by(9, budget)


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


@pytest.fixture
def run_with_patience(make_loop, monkeypatch, tmp_path):
    """run_with_patience(APs of the epochs, patience, first step) -> (result, what happened); one step an epoch."""

    def run_it(figures, patience, step=0, **agree):
        patience = Patience(patience, **agree)
        loop, events = make_loop(intervals=Intervals(steps_per_epoch=1, epochs=len(figures), checkpoint_every=2), patience=patience)
        loop.recorder.folder.path = tmp_path
        loop.recorder.message = events.append

        def evaluate(loop, step):
            events.append(f"AP {figures[step - 1]}")
            with open(tmp_path / "metrics.jsonl", "a") as file:
                file.write(json.dumps({"step": step, "epoch": step, "AP": figures[step - 1]}) + "\n")
            return {"AP": figures[step - 1]} if loop.recorder.folder.writes else {}

        monkeypatch.setattr(TrainingLoop, "_evaluate", evaluate)
        result = loop.run(step, lambda: False)
        return result, [one for one in events if one.split()[0] in ("AP", "early", "save")]

    return run_it


STOP = "early stop: no AP above 0.300 (epoch 2) in 2 evaluations; train.patience=2"


def test_a_run_ends_after_evaluations_without_a_better_ap(run_with_patience):
    # .3 again is no better; the AP of epoch 5 never comes.
    result, events = run_with_patience([0.1, 0.3, 0.3, 0.2, 0.9], 2)
    assert (result.step, result.finished) == (4, True)
    assert events == ["AP 0.1", "AP 0.3", "save 2", "AP 0.3", "AP 0.2", STOP, "save 4", "save 4"]


def test_a_run_that_resumes_stops_where_it_would_have(run_with_patience, tmp_path):
    lines = [{"step": 1, "epoch": 1, "loss": 3.0}, {"step": 1, "epoch": 1, "AP": 0.1}, {"step": 2, "epoch": 2, "AP": 0.3}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result, events = run_with_patience([0.1, 0.3, 0.3, 0.2, 0.9], 2, step=2)
    assert (result.step, events) == (4, ["AP 0.3", "AP 0.2", STOP, "save 4", "save 4"])
    # The same command again does nothing more, and says why.
    result, events = run_with_patience([0.1, 0.3, 0.3, 0.2, 0.9], 2, step=4)
    assert (result.step, result.finished, events) == (4, True, [STOP, "save 4"])
    # More patience goes on.
    assert run_with_patience([0.1, 0.3, 0.3, 0.2, 0.9], 3, step=4)[0].step == 5


@pytest.mark.parametrize(("figures", "patience"), [([0.3, 0.2, 0.1, 0.0], 0), ([0.3, -1, -1, -1], 1), ([0.1, 0.2, 0.1, 0.3], 2)])
def test_a_run_goes_on_without_patience_without_objects_and_while_ap_rises(run_with_patience, figures, patience):
    assert run_with_patience(figures, patience)[0].step == 4


def test_a_better_last_evaluation_prints_nothing_of_an_early_stop(run_with_patience):
    result, events = run_with_patience([0.3, 0.2, 0.1], 2)  # over, but so is the run
    assert (result.step, [one for one in events if one.startswith("early")]) == (3, [])


def test_a_worker_without_evaluations_stops_with_the_others(run_with_patience):
    answers = iter([False, False, False, True])  # of all workers: one at the start, one after each evaluation
    questions = []
    result, _ = run_with_patience([0.1, 0.1, 0.1, 0.1, 0.1], 2, agree=lambda is_over: questions.append(is_over) or next(answers))
    assert (result.step, questions) == (3, [False, False, False, True])
