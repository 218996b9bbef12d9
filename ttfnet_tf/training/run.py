"""`run_training`: reads the settings, builds what a run needs, and trains. Below this module and `build` nothing knows the settings."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config, doubts, effective_lr
from ttfnet_tf.config.schema import AUTO, with_value
from ttfnet_tf.data import pipeline
from ttfnet_tf.data.balance import describe_balance
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.tiles import describe_tiles
from ttfnet_tf.doctor.quick import quick_check
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate import EvaluationResult
from ttfnet_tf.inspect import run_images
from ttfnet_tf.inspect.show import microscope_of
from ttfnet_tf.runs import checkpoint_files
from ttfnet_tf.runs.checkpoint import CheckpointStore
from ttfnet_tf.runs.lock import RunLock
from ttfnet_tf.runs.remote_run import LocalRun, local_work_directory
from ttfnet_tf.runs.resume import config_of_begun_run, refuse_other_run
from ttfnet_tf.runs.run_folder import Labels, RunFolder, flatten, make_work_directory, split_fingerprint
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.choose_batch import choose_batch_size
from ttfnet_tf.training.choose_precision import tensor_float_32
from ttfnet_tf.training.devices import any_worker, build_strategy, is_chief, make_deterministic
from ttfnet_tf.training.divergence import DivergencePolicy
from ttfnet_tf.training.evaluator import Evaluator
from ttfnet_tf.training.loop import TrainingLoop, TrainingResult
from ttfnet_tf.training.mixing import Mixing
from ttfnet_tf.training.patience import Patience
from ttfnet_tf.training.profiler import ProfileWindow
from ttfnet_tf.training.recorder import RunRecorder
from ttfnet_tf.training.state import TrainState
from ttfnet_tf.training.stop import StopRequest
from ttfnet_tf.training.teacher import check_teacher
from ttfnet_tf.training.time_budget import RunTime
from ttfnet_tf.training.tracking import Tracking, refuse_missing
from ttfnet_tf.training.workers import lost_worker_in_one_line, refuse_different_folders
from ttfnet_tf.weights.pretrained import load_pretrained_of


@pipeline.single_threaded_opencv()
def run_training(config: Config, work_dir: str | Path, run_time: RunTime | None = None) -> TrainingResult:
    """Trains to the end or a signal; resumes by itself where `work_dir` holds the same run.

    Args:
        config: settings.
        work_dir: path or URL.
        run_time: with `train.minutes`, when the clock began; default now.

    Raises:
        UserError: whatever the user can fix: data, settings, work directory, devices, divergence.
    """
    refuse_missing(config.train.log_to)
    if config.train.deterministic:
        make_deterministic()
    strategy = build_strategy(config.train.strategy, config.train.devices)
    _refuse_uneven_batch(config, strategy.num_replicas_in_sync)
    train_split, val_split = _load_splits(config)
    labels = Labels(tuple(train_split.class_names), tuple(train_split.category_ids))
    fingerprint = split_fingerprint(config.data.train)
    with lost_worker_in_one_line(strategy), local_work_directory(work_dir, writes=is_chief(strategy)) as run:
        return _train(config, work_dir, run, strategy, (train_split, val_split), labels, fingerprint, run_time)


def _train(
    config: Config,
    work_dir: str | Path,
    run: LocalRun,
    strategy: tf.distribute.Strategy,
    splits: tuple[CocoSplit, CocoSplit | None],
    labels: Labels,
    fingerprint: str | None,
    run_time: RunTime | None,
) -> TrainingResult:
    """Trains in the folder of `run`; messages name `work_dir`."""
    train_split = splits[0]
    if is_chief(strategy):
        make_work_directory(run.folder)
    with RunLock(run.folder, holds=is_chief(strategy)), StopRequest() as stop, tensor_float_32(config.train.tf32):
        begun = _begun_run(strategy, run.folder)
        config, precision = training_build.with_precision(config, strategy, begun)
        config, batch = _with_batch_size(config, strategy, train_split, begun)
        note = refuse_other_run(run.folder, config, labels, fingerprint)
        folder = RunFolder(run.folder, config, labels, fingerprint=fingerprint, writes=is_chief(strategy))
        teacher = check_teacher(config, labels.class_names)
        state = training_build.state_of(config, strategy, train_split.num_classes)
        budget = training_build.budget_of(config, run_time)
        state = dataclasses.replace(state, budget=budget)
        store = CheckpointStore(
            folder.path / "checkpoints",
            state.objects(),
            keep=config.train.keep_checkpoints,
            writes=folder.writes,
            on_saved=run.upload,
        )
        say = print if folder.writes else _say_nothing
        for line in (precision, batch, note, teacher):
            if line is not None:
                say(line)
        step = store.restore_latest(say)  # before anything is removed: a run that cannot resume leaves its files as they were
        refuse_different_folders(strategy, folder.path, step)
        folder.remove_rubbish()
        store.remove_rubbish()
        _introduce(config, splits, strategy.num_replicas_in_sync, say)
        if step is None:
            _initialise(config, state, train_split.class_names, say)
        loop = _build_loop(config, strategy, folder, splits, state, store)
        if step is not None:
            state.window.from_variable()
            loop.resume_plan()
            say(f"{work_dir}: resumes at step {step} of {loop.intervals.total_steps}")
        elif config.train.on_divergence == "rollback":
            loop.save(0)  # something to roll back to
        result = loop.run(step or 0, _must_stop(strategy, stop, agree=config.train.strategy == "multi_worker"))
        if budget is not None and result.finished:
            folder.write_repeat(training_build.without_clock(config, budget.plan))
        return result


def _refuse_uneven_batch(config: Config, replicas: int) -> None:
    """Each part of each replica has as many images."""
    size, parts = config.train.batch_size, config.optim.accumulate
    if size != AUTO and size % (replicas * parts):
        of_parts = f" times the {parts} parts of optim.accumulate" if parts > 1 else ""
        raise UserError(f"train.batch_size={size} must be a multiple of the {replicas} replicas{of_parts}")


def _with_batch_size(config: Config, strategy: tf.distribute.Strategy, split: CocoSplit, begun: Config | None) -> tuple[Config, str | None]:
    """The settings with `train.batch_size: auto` decided, and a line about it; a run that resumes keeps its batch."""
    if config.train.batch_size != AUTO:
        return config, None
    if begun is not None:
        size, line = begun.train.batch_size, f"train.batch_size=auto: {begun.train.batch_size}, as this run began"
    else:
        size, line = choose_batch_size(config, strategy, num_classes=split.num_classes, num_images=len(split.images))
    return with_value(config, "train.batch_size", size), line


def _begun_run(strategy: tf.distribute.Strategy, folder: Path) -> Config | None:
    """The settings of the run in a folder, None for none; the same on every worker, since what they do together depends on it.

    Raises:
        UserError: workers see different runs or checkpoints.
    """
    begun = config_of_begun_run(folder)
    newest, _ = checkpoint_files.current(folder / "checkpoints")
    refuse_different_folders(strategy, folder, None if newest is None else checkpoint_files.step_of(newest), begun=begun is not None)
    return begun


def _load_splits(config: Config) -> tuple[CocoSplit, CocoSplit | None]:
    """Training and validation images, the latter only where they are evaluated, with the same categories and all files there."""
    train = build.load_split(config, "train")
    known = train.category_ids, train.class_names
    val = build.load_split(config, "val", known=known) if config.train.evaluate_every else None
    if val is not None and (val.category_ids, val.class_names) != (train.category_ids, train.class_names):
        raise UserError(
            f"{val.annotations}: its categories differ from those of {train.annotations} "
            f"({len(val.class_names)} and {len(train.class_names)}); both files must list the same ids and names"
        )
    for split in (train, val):
        if split is not None:
            pipeline.check_files(split, config.data.broken_images)
    return train, val


def _must_stop(strategy: tf.distribute.Strategy, stop: StopRequest, *, agree: bool) -> Callable[[], bool]:
    """Whether to stop; with `agree` one answer for all workers, or one of them would wait for the others forever.

    That answer is the one to the question before: the next step begins while the workers still agree on the last one.
    """
    if not agree:
        return lambda: stop.requested
    any_of, answers = any_worker(strategy), deque[tf.Tensor]()

    def answer_before() -> bool:
        answers.append(any_of(tf.constant(float(stop.requested))))
        return len(answers) > 1 and bool(answers.popleft())

    return answer_before


def _introduce(config: Config, splits: tuple[CocoSplit, CocoSplit | None], replicas: int, say: Callable[[str], object]) -> None:
    """Prints what the data are, what may be wrong with them and with the settings, and a learning rate that was scaled."""
    train_split, val_split = splits
    say(train_split.summary())
    if config.data.tile:
        say(describe_tiles(train_split, config.data.tile, cached=config.data.cache != "none"))
    if config.data.class_balance:
        say(describe_balance(train_split, config.data.class_balance))
    steps_per_epoch = pipeline.steps_per_epoch(len(train_split.images), config.train.batch_size)
    steps = None if config.train.minutes else config.train.steps or config.train.epochs * steps_per_epoch
    found = quick_check(train_split, val_split, image_size=config.data.size, keep_ratio=config.data.keep_ratio)
    for line in [*found, *doubts(config, steps, replicas)]:
        say(f"note: {line}")
    if effective_lr(config) != config.optim.lr:
        say(
            f"learning rate {effective_lr(config):g}: optim.lr={config.optim.lr:g} is for batches of {config.optim.lr_batch_size}, "
            f"train.batch_size is {config.train.batch_size} (optim.scale_lr=false keeps {config.optim.lr:g})"
        )


def _say_nothing(_: str) -> None:
    """For workers other than the chief."""


def _initialise(config: Config, state: TrainState, class_names: Sequence[str], say: Callable[[str], object]) -> None:
    """The state before the first step."""
    if config.model.pretrained:
        say(load_pretrained_of(config, state.model, class_names))
    if state.average is not None:  # made before the pretrained weights came
        state.average.reset()


def _build_loop(
    config: Config,
    strategy: tf.distribute.Strategy,
    folder: RunFolder,
    splits: tuple[CocoSplit, CocoSplit | None],
    state: TrainState,
    store: CheckpointStore,
) -> TrainingLoop:
    train_split, val_split = splits
    method = build.method_of(config, train_split.num_classes)
    notes, mixing = pipeline.ImageNotes(), training_build.mixing_of(config)
    steps_per_epoch = pipeline.steps_per_epoch(len(train_split.images), config.train.batch_size)
    intervals = training_build.intervals_of(config, steps_per_epoch)
    evaluator = None if val_split is None else training_build.evaluator_of(config, strategy, val_split, notes)
    recorder = RunRecorder(
        folder,
        intervals,
        notes,
        batch_size=config.train.batch_size,
        settings=flatten(dataclasses.asdict(config)),
        step=store.saved_step or 0,
        tracking=None if config.train.log_to == "none" else Tracking(config.train.log_to, folder.path),
    )
    return TrainingLoop(
        strategy=strategy,
        state=state,
        train=training_build.train_function_of(config, strategy, state, method),
        learning_rate=training_build.learning_rate_of(config, steps_per_epoch, state.budget),
        batches=training_build.batches_of(config, strategy, train_split, notes, mixing),
        intervals=intervals,
        store=store,
        policy=DivergencePolicy(config.train.on_divergence, state.sentinel),
        step_recorder=training_build.step_recorder_of(config, strategy, folder, train_split, method, mixing),
        recorder=recorder,
        evaluator=evaluator,
        images=_images_of(config, train_split, evaluator, mixing),
        mixing=mixing,
        patience=_patience_of(config, strategy),
        budget=state.budget,
        profile=ProfileWindow(folder.path / "train", config.train.profile_steps, writes=folder.writes),
    )


def _patience_of(config: Config, strategy: tf.distribute.Strategy) -> Patience:
    """Early stopping, on which several workers agree."""
    if config.train.strategy != "multi_worker":
        return Patience(config.train.patience)
    any_of = any_worker(strategy)
    return Patience(config.train.patience, lambda is_over: bool(any_of(tf.constant(float(is_over)))))


def _images_of(
    config: Config, train_split: CocoSplit, evaluator: Evaluator | None, mixing: Mixing
) -> Callable[[int, EvaluationResult], Mapping[str, np.ndarray]]:
    """A function: epoch from 0 and its evaluation -> images for TensorBoard."""
    count = config.train.summary_images

    def images(epoch: int, result: EvaluationResult) -> dict[str, np.ndarray]:
        return {
            **run_images.inputs(microscope_of(config, train_split, mixes=not mixing.is_over), epoch, count),
            **evaluator.panels(count),
            **run_images.worst(evaluator.split, result.matches, count),
        }

    return images
