"""Ray Train: a run on the workers of a Ray cluster, each a worker of `train.strategy=multi_worker`.

    from ttfnet_tf.integrations.ray_train import tensorflow_trainer

    tensorflow_trainer("ttfnet_r18_1x", "/shared/runs/mine", workers=2, use_gpu=True).fit()

Ray starts all workers again when one of them or its machine ends; they resume from the work directory, which all must see.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.tensorflow import TensorflowTrainer

from ttfnet_tf.config import load_config


def train_worker(settings: Mapping[str, Any]) -> None:
    """The function that each worker of a `TensorflowTrainer` runs.

    Args:
        settings: "config", a YAML file or the name of a recipe; "work_dir"; and "overrides", a list of key=value.

    Raises:
        UserError: see `run_training`.
    """
    from ttfnet_tf.training.run import run_training

    config = load_config(settings["config"], [*settings.get("overrides", ()), "train.strategy=multi_worker"])
    result = run_training(config, settings["work_dir"])
    ray.train.report({"step": result.step, **result.metrics})


def tensorflow_trainer(
    config: str | Path,
    work_dir: str | Path,
    *,
    workers: int,
    overrides: Sequence[str] = (),
    use_gpu: bool = False,
    max_failures: int = 10,
    **scaling: Any,
) -> TensorflowTrainer:
    """A trainer whose `fit()` trains to the end, or resumes.

    Args:
        config: YAML file, which every worker must see, or name of a recipe.
        work_dir: of the run; every worker must see it.
        workers: number of processes.
        overrides: settings as key=value.
        use_gpu: whether each worker gets a GPU.
        max_failures: how often Ray starts the workers again.
        scaling: more of `ScalingConfig`, e.g. resources_per_worker={"CPU": 8}.
    """
    config = str(config) if not Path(config).exists() else os.path.abspath(config)
    return TensorflowTrainer(
        train_worker,
        train_loop_config={"config": config, "work_dir": os.path.abspath(work_dir), "overrides": list(overrides)},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, **scaling),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=max_failures)),
    )
