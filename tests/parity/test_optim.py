"""The optimizer and its schedules against recorded updates of the official recipe."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.training.schedule import learning_rate
from ttfnet_tf.training.sgd import ReferenceSGD, parameter_rule
from ttfnet_tf.training.step import clip_scale

pytestmark = pytest.mark.parity

RULE = {"weight_decay": 4e-4, "bias_lr_multiplier": 2.0, "bias_weight_decay": 0.0}


@pytest.mark.parametrize("case", golden.cases("optim"))
def test_five_updates(case):
    arrays = golden.arrays_of("optim", case)
    trainable = [name for name, group in case["groups"].items() if group["requires_grad"]]
    parameters = {name: tf.Variable(arrays[f"init/{name}"]) for name in trainable}
    optimizer = ReferenceSGD(parameters, momentum=case["momentum"], **RULE)
    for step, lr in enumerate(case["lrs"]):
        # PyTorch clips in place, so what was recorded is the clipped gradient and the norm it had before.
        recorded_norm = case["grad_norm_before_clip"][step]
        unclip = max((recorded_norm + 1e-6) / case["max_norm"], 1.0)
        gradients = [tf.constant((arrays[f"grad{step}/{name}"].astype(np.float64) * unclip).astype(np.float32)) for name in trainable]
        norm = tf.linalg.global_norm(gradients)
        np.testing.assert_allclose(norm, recorded_norm, rtol=1e-5)
        optimizer.update(gradients, tf.constant(lr), clip_scale(norm, case["max_norm"]))
        for name in trainable:
            expected = arrays[f"after{step}_32/{name}"]
            np.testing.assert_allclose(parameters[name], expected, rtol=1e-6, atol=1e-7, err_msg=f"step {step} {name}")


@pytest.mark.parametrize("case", golden.cases("optim"))
def test_rules_of_the_toy_parameters(case):
    for name, group in case["groups"].items():
        if group["requires_grad"]:
            assert parameter_rule(name, **RULE) == (group["lr_mult"], group["weight_decay"]), name


SCHEDULES = [
    pytest.param(schedule, id=f"{schedule['config']}-{schedule['iters_per_epoch']}")
    for schedule in golden.document("optim")["lr_schedules"]
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_step_schedule_with_warm_up(schedule):
    settings = schedule["lr_config"]
    for iteration, expected in schedule["iter_lr"]:
        lr = learning_rate(
            iteration,
            base_lr=schedule["base_lr"],
            steps_per_epoch=schedule["iters_per_epoch"],
            epochs=schedule["total_epochs"],
            drop_epochs=settings["step"],
            warmup_steps=settings["warmup_iters"],
            warmup_ratio=settings["warmup_ratio"],
        )
        np.testing.assert_allclose(lr, expected, rtol=1e-9, err_msg=f"iteration {iteration}")
