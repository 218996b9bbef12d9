"""Mixed precision trains the same network: float32 weights, close losses."""

import numpy as np
import pytest
from integration_runs import checkpoint, metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = ("train.epochs=1", "optim.drop_epochs=[]", "train.evaluate_every=0", "model.batch_norm=local")


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_losses_stay_close_to_float32(runs, precision):
    expected = metrics(runs.finish("float32", *SETTINGS))
    mixed = runs.finish(precision, *SETTINGS, f"train.precision={precision}")
    for ours, theirs in zip(metrics(mixed), expected):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.03)
    weights = [value for key, value in checkpoint(mixed).items() if key.startswith("model/") and value.ndim == 4]
    assert len(weights) > 20
    assert {value.dtype for value in weights} == {np.dtype("float32")}
