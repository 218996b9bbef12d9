"""Every recipe trains a step and restores its checkpoint; every cell of the paper's tables trains two.

Networks are as their settings say but for the channels, which are few. Recipes that differ in schedule and data only are the same
network and the same step, and each distinct one is built and trained once. Steps are not compiled, which would cost ten times as
much; but cells that share a network share one compiled step. Cells have ResNet-18 in the place of DarkNet-53, for they differ in neck,
heads, targets and learning rate; the configurations of their tables, which are among the recipes, have DarkNet-53.
"""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import HeadConfig, SplitConfig, load_config
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.models.detector import build_model
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.reproduce.cells import read_published
from ttfnet_tf.runs.checkpoint import CheckpointStore
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.state import TrainState
from ttfnet_tf.training.step import build_train_function

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(path for path in CONFIGS.rglob("*.yaml") if not path.name.startswith("_") and path.name != "published.yaml")
PUBLISHED = read_published()
CELLS = [
    (table.name, cell) for table in PUBLISHED.tables.values() for cell in table.cells if cell.settings or "ablations" in cell.config.parts
]
CLASSES = 4  # of the drawn shapes
# Two objects that share cells, one that is small, in an image of 64 px.
BOXES = np.array([[[6, 8, 44, 40], [20, 24, 60, 58], [50, 4, 58, 14]]] * 2, np.float32)
LABELS = np.array([[0, 1, 3]] * 2, np.int32)


def _small(config, side, **model):
    """The same network with few channels, for one image of `side` px; the batch sets the learning rate and nothing else."""
    heads = {name: dataclasses.replace(getattr(config.model, name), width=8) for name in ("heatmap_head", "box_head")}
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, image_size=[side, side]),
        model=dataclasses.replace(config.model, neck_channels=[16, 12, 8], **{**heads, **model}),
        # Not 1: oneDNN in TensorFlow 2.15 writes beyond its memory in the gradient of a 1x1 convolution of 8 channels with stride 2.
        train=dataclasses.replace(config.train, batch_size=2),
    )


def _key(*sections):
    """Settings as a key; where weights come from does not count."""
    trees = [dataclasses.asdict(section) if dataclasses.is_dataclass(section) else section for section in sections]
    for tree in trees:
        if isinstance(tree, dict):
            tree.pop("pretrained", None)
    return json.dumps(trees)


class Network:
    """A network with its initial values; `trainer` gives its training step."""

    def __init__(self, config):
        with pytest.MonkeyPatch.context() as patch:
            # One for all sizes of images, and narrow: the settings have no such key, for no recipe wants it.
            patch.setattr(build, "build_model", lambda *args, **kw: build_model(*args, **{**kw, "image_size": None, "width": 8}))
            self.model = build.model_of(config, CLASSES)
        self.parameters = named_parameters(self.model, trainable_only=True)
        self.initial = [variable.numpy() for variable in self.model.variables]

    def reset(self):
        for variable, value in zip(self.model.variables, self.initial):
            variable.assign(value)

    def trainer(self, config):
        """(function of an iterator, learning rates and the first step; optimizer)"""
        optimizer = training_build.optimizer_of(config, self.parameters)
        train = build_train_function(
            tf.distribute.get_strategy(),
            TrainState(self.model, self.parameters, optimizer),
            build.method_of(config, CLASSES),
            normalizer=config.losses.normalizer,
            clip_norm=config.optim.clip_norm,
        )
        return train, optimizer


@pytest.fixture(scope="module")
def network():
    """network(config) -> Network, the same for the same settings of the model."""
    made = {}

    def get(config):
        key = _key(config.model)
        if key not in made:
            made[key] = Network(config)
        made[key].reset()
        return made[key]

    return get


@pytest.fixture(scope="module")
def data_splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes") / "shapes"
    draw_shapes(folder, train=3, val=1, size=(96, 128), seed=4)
    return {split: SplitConfig(str(folder / f"annotations/{split}.json"), str(folder / split)) for split in ("train", "val")}


@pytest.fixture(scope="module")
def step_of(network, data_splits):
    """step_of(config) -> (metrics of one step on a batch from the recipe's own input pipeline, Network, optimizer)."""
    made, batches = {}, {}

    def get(config):
        key = _key(config.augment, config.targets, config.model.method)
        if key not in batches:
            batches[key] = next(iter(build.train_dataset(config, build.load_split(config, "train"))))
        batch = batches[key]
        assert batch["image"].shape == (2, 128, 128, 3)
        key = _key(config.model, config.losses, config.optim.name, config.targets.backend)
        if key not in made:
            own = network(config)
            train, optimizer = own.trainer(config)
            rate = training_build.learning_rate_of(config, 100)(0)
            history = train.__wrapped__(iter([batch]), tf.constant([rate]), tf.constant(0, tf.int64))
            made[key] = {name: float(values[0]) for name, values in history.items()}, own, optimizer
        return made[key]

    return get


@pytest.fixture(scope="module")
def restored(tmp_path_factory, step_of):
    """restored(config) -> names of the variables that a checkpoint of its step does not bring back."""
    made = {}

    def get(config):
        key = _key(config.model, config.optim.name)
        if key not in made:
            _, own, optimizer = step_of(config)
            state = {"model": own.model, "optimizer": optimizer}
            variables = [*own.model.variables, *optimizer.variables]
            values = [variable.numpy() for variable in variables]
            folder = tmp_path_factory.mktemp("checkpoint")
            CheckpointStore(folder, state, keep=1).save(1)
            for variable in variables:
                variable.assign(tf.zeros_like(variable) + tf.cast(7, variable.dtype))
            assert CheckpointStore(folder, state, keep=1).restore_latest() == 1
            made[key] = [v.name for v, value in zip(variables, values) if not np.array_equal(v.numpy(), value)], len(variables)
        return made[key]

    return get


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_recipe_builds_trains_a_step_and_restores_its_checkpoint(path, data_splits, step_of, restored):
    config = load_config(path)
    config = _small(dataclasses.replace(config, data=dataclasses.replace(config.data, **data_splits)), 128)
    metrics, own, _ = step_of(config)
    assert all(map(math.isfinite, metrics.values()))
    assert metrics["gradient_norm"] > 0
    assert metrics["heatmap_loss"] > 0
    changed = [name for name, parameter in own.parameters.items() if parameter.trainable]
    assert len(changed) == len(own.parameters)
    different, count = restored(config)
    assert different == []
    assert count > 100


@pytest.fixture(scope="module")
def cell_configs():
    """(table, cell) -> its settings for this test. Box heads are of one depth, so that tables share networks."""
    same = {"backbone": "resnet18", "box_head": HeadConfig(width=8, depth=2)}
    return {(table, cell.name): _small(load_config(cell.config, cell.settings), 64, **same) for table, cell in CELLS}


@pytest.fixture(scope="module")
def two_steps(network, cell_configs):
    """two_steps(config) -> (metrics of two steps from the initial values on boxes that overlap, the batch with its targets)."""
    image = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3), np.uint8)

    def trainer_key(config):
        return _key(config.model, config.losses, config.optim.name)

    users = Counter(map(trainer_key, cell_configs.values()))
    compiled = {}

    def get(config):
        method = build.method_of(config, CLASSES)
        maps = [method.paint(boxes, labels) for boxes, labels in zip(BOXES, LABELS)]
        drawn = {name: np.stack([m[name] for m in maps]) for name in method.target_shapes}
        batch = {"image": image, "boxes": BOXES, "labels": LABELS, **drawn}
        rates = tf.constant([training_build.learning_rate_of(config, 100)(step) for step in range(2)], tf.float32)
        own, key = network(config), trainer_key(config)
        if users[key] < 10:  # not worth compiling
            train = own.trainer(config)[0].__wrapped__
            batches = iter([{name: tf.constant(value) for name, value in batch.items()}] * 2)
        else:
            if key not in compiled:
                compiled[key] = own.trainer(config)
            train, optimizer = compiled[key]
            for buffer in optimizer.buffers.values():
                buffer.assign(tf.zeros_like(buffer))
            batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        return dict(train(batches, rates, tf.constant(0, tf.int64))), batch

    return get


@pytest.mark.parametrize("place", [(table, cell.name) for table, cell in CELLS], ids="-".join)
def test_cell_trains_two_steps(place, cell_configs, two_steps):
    config = cell_configs[place]
    history, batch = two_steps(config)
    for values in history.values():
        assert values.shape == (2,)
        assert np.isfinite(values).all()
    assert (history["gradient_norm"] > 0).all()
    box_loss = history["size_loss" if config.model.method == "centernet" else "box_loss"]
    assert (box_loss > 0).all()
    # What most cells are about is in their targets: a small beta leaves the cell of the centre. The radius of a Gaussian area is
    # int(side / 2 beta), and no side has more than 11 cells.
    owned = (batch["box_weight"] > 0).sum()
    largest = {"gaussian": 0.1, "rectangle": 0.03}[config.targets.area]
    centre_only = config.targets.beta <= largest or config.model.method == "centernet"
    assert (owned == BOXES.shape[0] * BOXES.shape[1]) == centre_only
