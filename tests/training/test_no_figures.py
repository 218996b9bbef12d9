"""Training that evaluates on images without a box: there is no AP, so no checkpoint is the best."""

from types import SimpleNamespace

import pytest

from ttfnet_tf.training.loop import TrainingLoop
from ttfnet_tf.training.recorder import RunRecorder


@pytest.mark.parametrize(("figure", "saved"), [(-1.0, []), (0.0, [0.0]), (0.25, [0.25])])
def test_only_a_figure_makes_a_checkpoint_the_best(figure, saved):
    metrics = {"AP": figure, "AP50": figure, "AP75": figure}
    lines, kept = [], []
    recorder = SimpleNamespace(
        folder=SimpleNamespace(writes=True),
        meter=None,
        new_notes=lambda: None,
        evaluation=lambda *_: None,
        intervals=SimpleNamespace(epoch=lambda step: step),
        message=lines.append,
    )
    recorder.evaluated = lambda *arguments: RunRecorder.evaluated(recorder, *arguments)
    loop = SimpleNamespace(
        evaluator=SimpleNamespace(take_weights=lambda *_: None, evaluate=lambda **_: SimpleNamespace(metrics=metrics), model=None),
        recorder=recorder,
        state=SimpleNamespace(model=None, average=None),
        images=lambda *_: {},
        intervals=SimpleNamespace(steps_per_epoch=1),
        budget=None,
        store=SimpleNamespace(save_if_best=lambda model, step, precision: kept.append(precision) or True),
    )
    assert TrainingLoop._evaluate(loop, 3) == metrics
    assert kept == saved
    if figure < 0:
        assert lines == ["epoch 3: no AP, because the validation images have no boxes"]
    else:
        assert lines == [f"epoch 3: AP {figure:.3f}  AP50 {figure:.3f}  AP75 {figure:.3f}  (best)"]
