"""The divergence policy: decisions, counts and messages, without a run."""

import pytest

from ttfnet_tf.training.divergence import BadStep, Counts, Decision, DivergencePolicy, decide, message, rollback_offset
from ttfnet_tf.training.sentinel import Sentinel

NAN = float("nan")


def _bad(loss=NAN, norm=1.0, *, computed=True):
    return BadStep(4, 0.002, {"loss": loss, "gradient_norm": norm} if computed else None, 1.0, 2.0)


@pytest.mark.parametrize(
    ("policy", "in_a_row", "was_computed", "decision"),
    [
        ("stop", 1, True, Decision.STOP),
        ("stop", 1, False, Decision.STOP),
        ("skip", 1, True, Decision.SKIP),
        ("skip", 10, True, Decision.SKIP),
        ("skip", 11, True, Decision.TOO_MANY_SKIPS),
        ("skip", 1, False, Decision.CANNOT_SKIP),
        ("rollback", 1, True, Decision.ROLLBACK),
        ("rollback", 3, False, Decision.ROLLBACK),
        ("rollback", 4, True, Decision.TOO_MANY_ROLLBACKS),
    ],
)
def test_decisions(policy, in_a_row, was_computed, decision):
    assert decide(policy, in_a_row=in_a_row, was_computed=was_computed) is decision
    assert decision.ends_run == (decision.value not in ("skip", "rollback"))


def test_skips_count_until_a_good_step_and_release_the_device():
    sentinel = Sentinel()
    policy = DivergencePolicy("skip", sentinel)
    for _ in range(2):
        sentinel.bad_step.assign(4)
        assert policy.decide(_bad()) is Decision.SKIP
        assert int(sentinel.bad_step) == -1
    assert policy.counts == Counts(skipped=2, in_a_row=2, data_offset=0)
    policy.before_checkpoint()
    assert policy.counts.in_a_row == 2
    policy.after_good_steps()
    assert policy.counts == Counts(skipped=2, in_a_row=0, data_offset=0)


def test_rollbacks_count_until_the_next_checkpoint_and_survive_the_restored_one():
    sentinel = Sentinel()
    policy = DivergencePolicy("rollback", sentinel)
    assert policy.decide(_bad()) is Decision.ROLLBACK
    counts = policy.counts
    for variable in (sentinel.left_out, sentinel.in_a_row):  # as a restored checkpoint has them
        variable.assign(0)
    policy.after_rollback(counts, bad_step=4, checkpoint_step=3)
    assert policy.counts == Counts(skipped=1, in_a_row=1, data_offset=2)
    policy.after_good_steps()
    assert policy.counts.in_a_row == 1
    policy.before_checkpoint()
    assert policy.counts == Counts(skipped=1, in_a_row=0, data_offset=2)


def test_a_decision_that_ends_the_run_counts_nothing():
    sentinel = Sentinel()
    sentinel.bad_step.assign(4)
    assert DivergencePolicy("stop", sentinel).decide(_bad()) is Decision.STOP
    assert DivergencePolicy("stop", sentinel).counts == Counts(0, 0, 0)
    assert int(sentinel.bad_step) == 4


def test_data_after_a_rollback_are_those_behind_the_bad_step():
    # Checkpoint before step 30; steps 30 to 36 took the batches 30 to 36, the last of them bad.
    assert rollback_offset(0, 36, 30) == 7
    # Batches 37, 38 and 39 next, of which 39 is bad, in step 32.
    assert rollback_offset(7, 32, 30) == 10


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (_bad(), "the loss is nan"),
        (_bad(3.0, float("inf")), "the gradient norm is inf"),
        (_bad(46.0), "the loss is 46, 23 times its running mean 2"),
        (_bad(computed=False), "the offsets of a deformable convolution are not finite"),
    ],
)
def test_reasons(bad, reason):
    assert bad.reason == reason


@pytest.mark.parametrize(
    ("decision", "rest"),
    [
        (
            Decision.STOP,
            "replay; lower optim.lr (now 0.002) or raise optim.warmup_steps and start with another --work-dir, "
            "or resume with train.on_divergence=skip or rollback",
        ),
        (Decision.CANNOT_SKIP, "replay; a step without a loss cannot be skipped: resume with train.on_divergence=rollback"),
        (
            Decision.TOO_MANY_SKIPS,
            "10 steps in a row were skipped before it; replay; lower optim.lr (now 0.002) and start with another --work-dir",
        ),
        (Decision.TOO_MANY_ROLLBACKS, "3 rollbacks did not help; replay; lower optim.lr (now 0.002) and start with another --work-dir"),
        (Decision.SKIP, "skipped (2 so far); replay"),
        (Decision.ROLLBACK, "rolled back to the last checkpoint; replay"),
    ],
)
def test_messages(decision, rest):
    line = message(decision, _bad(), where="runs/x", images="image id 7", record="replay", skipped=2)
    assert line == f"runs/x: the loss is nan at step 5, image id 7; {rest}"
