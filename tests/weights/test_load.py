import os
import struct
from importlib.util import find_spec

import golden_weights
import networks
import numpy as np
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.models.parameters import named_buffers, named_parameters, to_official
from ttfnet_tf.weights import download
from ttfnet_tf.weights.files import write_tensors
from ttfnet_tf.weights.load import Source, load_exactly, load_pretrained, read_source, state_dict

SMALL = {"width": 8, "neck_channels": (8, 8, 8), "heatmap_head": (8, 1), "box_head": (8, 1)}


@pytest.fixture(scope="module")
def network():
    return networks.build(2, **SMALL)


@pytest.fixture(scope="module")
def initial(network):
    return {name: v.numpy() for name, v in _variables(network).items()}


@pytest.fixture
def model(network, initial):
    """The network with its initial values."""
    for name, variable in _variables(network).items():
        variable.assign(initial[name])
    return network


@pytest.fixture
def write(tmp_path):
    """write(name=array, ...) -> path of an .npz file."""

    def write(**arrays):
        path = tmp_path / "weights.npz"
        np.savez(path, **arrays)
        return path

    return write


def _variables(model):
    return {**named_parameters(model), **named_buffers(model)}


def _official(model):
    """A value for every name of the model, in the official layout; the values depend on the names."""
    shapes = {name: to_official(name, v.numpy()).shape for name, v in _variables(model).items()}
    return {name: golden_weights.gen_tensor(name, shape) for name, shape in shapes.items()}


def _backbone(model):
    """All tensors of the backbone of `model`, in torchvision's names and layout."""
    return {name.removeprefix("backbone."): array for name, array in _official(model).items() if name.startswith("backbone.")}


def _assert_unchanged(model, initial):
    for name, variable in _variables(model).items():
        np.testing.assert_array_equal(variable, initial[name], err_msg=name)


def test_complete_file(model, write):
    arrays = _backbone(model)
    report = load_pretrained(model, write(**arrays, **{"fc.weight": np.zeros([10, 4]), "bn1.num_batches_tracked": np.array(7)}))
    assert len(report.matched) == len(arrays)
    assert report.missing == report.unused == report.mismatched == ()
    assert report.ignored == ("bn1.num_batches_tracked", "fc.weight")
    kernel = model.get_layer("backbone.layer2.0.conv1").kernel.numpy()
    assert kernel[0, 2, 3, 5] == arrays["layer2.0.conv1.weight"][5, 3, 0, 2]
    np.testing.assert_array_equal(model.get_layer("backbone.bn1").moving_variance, arrays["bn1.running_var"])
    np.testing.assert_array_equal(model.get_layer("backbone.layer3.0.downsample.1").beta, arrays["layer3.0.downsample.1.bias"])


def test_a_partial_file_leaves_the_rest_unchanged(model, initial, write):
    arrays = {name: array for name, array in _backbone(model).items() if not name.startswith("layer4.")}
    report = load_pretrained(model, write(**arrays, strange=np.zeros(3)))
    assert {name.rsplit(".", 1)[0][:15] for name in report.missing} == {"backbone.layer4"}
    assert report.unused == ("strange",)
    for name, variable in _variables(model).items():
        assert np.array_equal(variable, initial[name]) == (name not in report.matched), name


def test_the_report_is_a_short_summary(model, write):
    arrays = {name: array for name, array in _backbone(model).items() if not name.startswith("layer4.")}
    path = write(**arrays, **{"fc.weight": np.zeros([10, 4]), "strange.weight": np.zeros(3)})
    assert str(load_pretrained(model, path)).splitlines() == [
        f"{path}: 75 tensors matched",
        "  25 missing, keep their initial values: backbone.layer4 (25)",
        "  1 unused: strange (1)",
        "  1 ignored: fc (1)",
    ]


def test_the_report_can_list_every_tensor(model, write):
    arrays = {"conv1.weight": _backbone(model)["conv1.weight"], "fc.weight": np.zeros([10, 4]), "strange": np.zeros(3)}
    lines = load_pretrained(model, write(**arrays)).lines()
    backbone = [name for name in _variables(model) if name.startswith("backbone.")]
    assert lines[0] == "matched  backbone.conv1.weight"
    assert sorted(lines[1:-2]) == sorted(f"missing  {name}" for name in backbone if name != "backbone.conv1.weight")
    assert lines[-2:] == ["unused   strange", "ignored  fc.weight"]


def test_half_precision_becomes_float32(model, write):
    load_pretrained(model, write(**{"bn1.bias": np.array([0.5, 1, 2, 3, 4, 5, 6, 0.1], np.float16)}))
    assert model.get_layer("backbone.bn1").beta.numpy().tolist() == [0.5, 1, 2, 3, 4, 5, 6, 0.0999755859375]


def test_with_other_classes_the_last_layers_keep_their_initial_values(model, initial, write):
    arrays = _official(model)
    arrays["bbox_head.hm.1.weight"] = np.zeros([80, 8, 1, 1], np.float32)
    arrays["bbox_head.hm.1.bias"] = np.zeros([80], np.float32)
    path = write(**arrays)
    report = load_pretrained(model, path)
    assert [m.name for m in report.mismatched] == ["bbox_head.hm.1.weight", "bbox_head.hm.1.bias"]
    assert (report.missing, report.unused) == ((), ())
    assert set(report.matched) == set(initial) - {"bbox_head.hm.1.weight", "bbox_head.hm.1.bias"}
    assert str(report).splitlines() == [
        f"{path}: {len(initial) - 2} tensors matched",
        "  shape differs, keeps its initial values: bbox_head.hm.1.weight [80, 8, 1, 1], the model has [2, 8, 1, 1]",
        "  shape differs, keeps its initial values: bbox_head.hm.1.bias [80], the model has [2]",
    ]
    for name, variable in _variables(model).items():
        expected = arrays[name] if name in report.matched else to_official(name, initial[name])
        np.testing.assert_array_equal(to_official(name, variable.numpy()), expected, err_msg=name)


def test_a_missing_head_is_reported(model, write):
    arrays = {name: array for name, array in _official(model).items() if not name.startswith("bbox_head.wh.")}
    report = load_pretrained(model, write(**arrays))
    assert sorted(report.missing) == [f"bbox_head.wh.{leaf}" for leaf in ("0.conv.bias", "0.conv.weight", "1.bias", "1.weight")]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_loading_and_saving_again_gives_the_same_bits(model, tmp_path, suffix):
    arrays = _official(model)
    write_tensors(tmp_path / f"w{suffix}", arrays)
    report = load_exactly(model, tmp_path / f"w{suffix}")
    assert report.is_exact
    state = state_dict(model)
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert counters == {name.replace("running_var", "num_batches_tracked") for name in arrays if name.endswith("running_var")}
    assert {(state[name].dtype, state[name].shape, int(state[name])) for name in counters} == {(np.dtype(np.int64), (), 0)}
    assert set(state) - counters == set(arrays)
    for name, array in arrays.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape), name
        assert state[name].tobytes() == array.tobytes(), name


def test_load_exactly_requires_every_tensor(model, initial, write):
    arrays = _backbone(model)
    arrays["bn1.bias"] = np.zeros(9, np.float32)
    del arrays["layer4.1.bn2.weight"]
    path = write(**arrays, strange=np.zeros(3))
    with pytest.raises(UserError) as caught:
        load_exactly(model, path)
    assert str(caught.value) == (
        f"{path}: tensors do not match (shape differs: 1 (backbone.bn1.bias [9], the model has [8]); missing in the file: 1 "
        "(backbone.layer4.1.bn2.weight); not in the model: 1 (strange)); change the configuration, or load what fits with --partial"
    )
    _assert_unchanged(model, initial)
    report = load_exactly(model, path, partial=True)
    assert len(report.matched) == len(arrays) - 1
    assert not report.is_exact


# Darknet.


@pytest.fixture(scope="module")
def darknet():
    return networks.build(2, backbone="darknet53", **SMALL)


@pytest.mark.slow
def test_a_darknet_file_fills_the_backbone(darknet, tmp_path):
    shapes = {name: to_official(name, v.numpy()).shape for name, v in _variables(darknet).items() if name.startswith("backbone.")}
    arrays = {name: golden_weights.gen_tensor(name, shape) for name, shape in shapes.items()}
    order = [
        name.removesuffix(".conv.weight") for name in named_parameters(darknet) if name.startswith("backbone.") and "conv.weight" in name
    ]
    leaves = ("bn.bias", "bn.weight", "bn.running_mean", "bn.running_var", "conv.weight")
    numbers = np.concatenate([arrays[f"{layer}.{leaf}"].ravel() for layer in order for leaf in leaves])
    path = tmp_path / "small.conv.74"
    path.write_bytes(struct.pack("<iiiQ", 0, 2, 0, 0) + numbers.astype("<f4").tobytes() + b"\0" * 8)
    report = load_pretrained(darknet, path)
    assert set(report.matched) == set(arrays)
    assert (report.missing, report.unused) == ((), ())
    assert report.notes == (
        "2 values after the 52 convolutions are unused: layers of another network",
        "the stem was converted from images in 0..1 to normalised images",
    )
    for name, variable in _variables(darknet).items():
        if name in arrays and name not in ("backbone.stem.conv.weight", "backbone.stem.bn.running_mean"):
            np.testing.assert_array_equal(to_official(name, variable.numpy()), arrays[name], err_msg=name)

    # On a grey image, away from the border, the convolution of the stem minus the mean is what Darknet computes from images in 0..1.
    kernel = arrays["backbone.stem.conv.weight"].astype(np.float64)
    expected = 0.4 * kernel.sum((1, 2, 3)) - arrays["backbone.stem.bn.running_mean"]
    stem = darknet.get_layer("backbone.stem.conv")
    grey = darknet.get_layer("normalization")(np.full([1, 8, 8, 3], 102.0, np.float32))  # 0.4 of 255
    found = stem(grey)[0, 4, 4] - darknet.get_layer("backbone.stem.bn").moving_mean
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_darknet_file_for_another_backbone(model, initial, tmp_path):
    (tmp_path / "a.weights").write_bytes(struct.pack("<iiiQ", 0, 2, 0, 0) + bytes(400))
    with pytest.raises(UserError, match=r"a\.weights: the backbone is not DarkNet-53, the only one that Darknet files fit"):
        load_pretrained(model, tmp_path / "a.weights")
    _assert_unchanged(model, initial)


@pytest.mark.slow
def test_weights_of_the_dla_classifier():
    dla = networks.build(2, backbone="dla34", neck="plain", **SMALL)
    inner = {name.removeprefix("backbone.base."): array for name, array in _official(dla).items() if name.startswith("backbone.base.")}
    source = _made({**inner, "fc.weight": np.zeros([10, 64, 1, 1]), "level3.project.0.weight": np.zeros([16, 8, 1, 1])})
    report = load_pretrained(dla, source)
    assert len(report.matched) == len(inner)
    assert {name.split(".")[1] for name in report.missing} == {"dla_up", "ida_up"}
    assert (report.unused, report.mismatched) == ((), ())
    everything = _official(dla)
    load_exactly(dla, _made(everything))
    state = state_dict(dla)
    assert all(state[name].tobytes() == array.tobytes() for name, array in everything.items())


# torchvision's ResNet-50 by its definition, with 1/8 of the channels after the stem.


def _resnet50():
    shapes = {"conv1": (64, 3, 7, 7), "bn1": (64,)}
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        width = 8 * 2 ** (stage - 1)
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes.update(
                {f"{name}.conv1": (width, inputs, 1, 1), f"{name}.conv2": (width, width, 3, 3), f"{name}.conv3": (4 * width, width, 1, 1)}
            )
            shapes.update({f"{name}.bn1": (width,), f"{name}.bn2": (width,), f"{name}.bn3": (4 * width,)})
            if block == 0:
                shapes.update({f"{name}.downsample.0": (4 * width, inputs, 1, 1), f"{name}.downsample.1": (4 * width,)})
            inputs = 4 * width
    leaves = {4: ("weight",), 1: ("weight", "bias", "running_mean", "running_var")}
    names = {f"{name}.{leaf}": shape for name, shape in shapes.items() for leaf in leaves[len(shape)]}
    return {name: golden_weights.gen_tensor(name, shape) for name, shape in names.items()}


@pytest.mark.skipif(find_spec("keras_cv") is None, reason="needs keras-cv")
@pytest.mark.skipif(
    find_spec("tf_keras") is not None and os.environ.get("TF_USE_LEGACY_KERAS") != "1", reason="keras-cv would take Keras 3"
)
@pytest.mark.slow
def test_torchvision_resnet50_fills_that_of_keras_cv():
    model = networks.build(2, backbone="keras_cv/resnet50", **SMALL)
    arrays = _resnet50()
    report = load_exactly(model, _made({**arrays, "fc.bias": np.zeros(10)}))
    assert len(report.matched) == len(arrays)
    assert len(report.notes) == 1
    variables = _variables(model)
    for name, ours in (
        ("layer3.5.conv2.weight", "backbone.stage3.v2_stack_2_block6_2_conv.weight"),
        ("layer2.0.downsample.1.bias", "backbone.stage2.v2_stack_1_block1_0_bn.bias"),
        ("bn1.running_var", "backbone.stem.conv1_bn.running_var"),
    ):
        np.testing.assert_array_equal(to_official(ours, variables[ours].numpy()), arrays[name])
    # On an image of one colour, the stem gives for pixels in 0..1 what torchvision's gives for the normalised ones.
    pixel = np.array([200.0, 20.0, 90.0])
    normalised = (pixel - MEAN) / STD
    kernel, mean = arrays["conv1.weight"].astype(np.float64), arrays["bn1.running_mean"]
    expected = np.einsum("oihw,i->o", kernel, normalised) - mean
    stem = np.einsum("hwio,i->o", model.get_layer("backbone.stem.conv1_conv").kernel, pixel / 255)
    np.testing.assert_allclose(stem - model.get_layer("backbone.stem.conv1_bn").moving_mean, expected, atol=2e-5)

    # A file of our own needs no conversion.
    own = state_dict(model)
    report = load_exactly(model, _made(own))
    assert report.notes == ()
    assert all(np.array_equal(array, own[name]) for name, array in state_dict(model).items())


def _made(tensors):
    return Source("made", tensors)


# Sources.


def test_hub_names_are_downloaded(model, tmp_path, monkeypatch):
    write_tensors(tmp_path / "cached.safetensors", _backbone(model))
    asked = []
    monkeypatch.setattr(download, "fetch", lambda name, on_message: asked.append(name) or tmp_path / "cached.safetensors")
    report = load_pretrained(model, "timm/resnet18.tv_in1k")
    assert asked == ["timm/resnet18.tv_in1k"]
    assert report.source == "timm/resnet18.tv_in1k"
    assert report.missing == ()


def test_missing_file(model, tmp_path):
    with pytest.raises(UserError, match=r"none\.npz: cannot be read \(No such file or directory\)"):
        load_pretrained(model, tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 a broken archive"], ids=["empty", "text", "broken"])
def test_a_file_of_another_type(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.npz: is not an \.npz file"):
        read_source(path)


def test_single_arrays_and_pickles_are_refused(tmp_path, write):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(UserError, match="a single array"):
        read_source(tmp_path / "one.npz")
    with pytest.raises(UserError, match="holds Python objects"):
        read_source(write(**{"conv1.weight": np.array([{}], object)}))


def test_a_file_for_another_network(model, write):
    with pytest.raises(UserError, match=r"weights\.npz: none of its 2 names .* conv1\.weight; is the file for another network\?"):
        load_pretrained(model, write(**{"features.0.weight": np.zeros(3), "features.1.weight": np.zeros(3)}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer1.0.conv1.weight", np.zeros([64, 64, 3, 3]), r"layer1\.0\.conv1\.weight has the shape \(64, 64, 3, 3\), .* \(8, 8, 3, 3\)"),
        ("bn1.running_var", np.full(8, np.nan), r"bn1\.running_var .* not finite"),
        ("bn1.weight", np.zeros(8, complex), r"bn1\.weight \(complex128\)"),
    ],
    ids=["shape", "nan", "type"],
)
def test_a_wrong_tensor_is_named_and_nothing_changes(model, initial, write, name, value, message):
    with pytest.raises(UserError, match=message):
        load_pretrained(model, write(**{**_backbone(model), name: value}))
    _assert_unchanged(model, initial)
