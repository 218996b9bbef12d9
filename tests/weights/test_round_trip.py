"""Official weights to our model and back, bit for bit, for every name of the recorded state dictionaries."""

import gc
from collections import OrderedDict

import golden_weights
import pytest
import systems

from ttfnet_tf.weights.files import write_tensors
from ttfnet_tf.weights.load import load_exactly, state_dict

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name != "r18")) for name in systems.SYSTEMS])
def network(request):
    """(our model, the official state dictionary of the same network)."""
    entries = golden_weights.table("state_dicts.json")[request.param]["state_dict"]
    with systems.borrowed(request.param) as model:
        yield model, {e["name"]: golden_weights.gen_tensor(e["name"], e["shape"]) for e in entries}
    gc.collect()


def _assert_same_bits(model, path, official):
    report = load_exactly(model, path)
    assert report.is_exact
    counters = {name for name in official if name.endswith("num_batches_tracked")}
    assert set(report.matched) == set(official) - counters
    assert set(report.ignored) == counters
    state = state_dict(model)
    assert set(state) == set(official)
    for name, array in official.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape), name
        assert state[name].tobytes() == array.tobytes(), name


def test_round_trip(network, tmp_path):
    model, official = network
    write_tensors(tmp_path / "w.safetensors", official)
    _assert_same_bits(model, tmp_path / "w.safetensors", official)


@pytest.mark.parametrize("is_new", [False, True], ids=["old", "new"])
def test_round_trip_from_torch_save(network, tmp_path, is_new):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    model, official = network
    state = OrderedDict((name, torch.tensor(array)) for name, array in official.items())
    content = {"meta": {"epoch": 24}, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_new)
    _assert_same_bits(model, tmp_path / "w.pth", official)
