"""The weights and inputs behind the recorded arrays: every value follows from its name, so none of them is stored.

Names and layouts are those of the official state dictionary ([out, in, H, W]). A restatement of the rule in NumPy; `test_model.py`
in tests/parity holds it against the recorded digest of all weights.
"""

from __future__ import annotations

import functools
import json
import zlib

import golden
import numpy as np

from ttfnet_tf.models import parameters


@functools.cache
def table(file: str) -> dict:
    """`state_dicts.json` or `init_stats.json`, from the complete golden data or from the part of it in the repository."""
    folders = (golden.folder("model"), golden.SUBSET)
    return json.loads(next(folder / file for folder in folders if (folder / file).is_file()).read_text())


def gen_tensor(name: str, shape) -> np.ndarray:
    """The float32 value of one entry of the state dictionary."""
    shape, leaf, random = tuple(shape), name.rpartition(".")[2], _generator(name)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        value = random.uniform(0.8, 1.25, shape)
    elif len(shape) == 4:
        value = np.sqrt(_gain(name) / np.prod(shape[1:])) * random.standard_normal(shape)
    elif leaf == "weight":  # scale of a normalisation; small where it ends a residual branch
        ends_branch = ("layer" in name and ".bn2." in name) or ".body.1.bn." in name
        value = random.uniform(0.6, 1.2, shape) * (0.3 if ends_branch else 1.0)
    else:
        value = 0.1 * random.standard_normal(shape)
        if leaf == "bias" and name == "bbox_head.hm.2.bias":
            value -= 3.0
        elif leaf == "bias" and name.startswith("bbox_head.wh."):
            value += 0.3
    return value.astype(np.float32)


def gen_input(tag: str, batch: int, height: int, width: int) -> np.ndarray:
    """[B, H, W, 3] float32, as if normalised."""
    return _generator("input:" + tag).standard_normal((batch, height, width, 3)).astype(np.float32)


def sample_index(tag: str, size: int, count: int = 4096) -> np.ndarray:
    """Positions of a flattened array of `size` that are recorded, ascending."""
    if size <= count:
        return np.arange(size)
    return np.sort(_generator("sample:" + tag).choice(size, count, replace=False))


def fill(model) -> None:
    """Gives every parameter and running statistic of `model` the value that belongs to its name."""
    for name, variable in {**parameters.named_parameters(model), **parameters.named_buffers(model)}.items():
        shape = parameters.to_official(name, np.empty(variable.shape, np.float32)).shape
        variable.assign(parameters.from_official(name, gen_tensor(name, shape)))


def _generator(text):
    return np.random.default_rng(zlib.crc32(text.encode()))


def _gain(name):
    if "conv_offset_mask" in name:
        return 0.25
    return {"bbox_head.hm.": 1.0, "bbox_head.wh.": 0.5}.get(name[:13], 2.0)
