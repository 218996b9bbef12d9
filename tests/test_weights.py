import numpy as np
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.model import build_model
from ttfnet_tf.parameters import named_buffers, named_parameters, to_official
from ttfnet_tf.weights import load_npz


@pytest.fixture
def model():
    return build_model(2, width=8, neck_channels=(8, 8, 8), heatmap_head=(8, 1), box_head=(8, 1))


@pytest.fixture
def write(tmp_path):
    """write(name=array, ...) -> path of an .npz; dots in names are written as they are."""

    def write(**arrays):
        path = tmp_path / "weights.npz"
        np.savez(path, **arrays)
        return path

    return write


def _variables(model):
    return {**named_parameters(model), **named_buffers(model)}


def _backbone(model, seed=0):
    """A complete file for the backbone of `model`, in torchvision's names and layout."""
    random = np.random.default_rng(seed)
    names = {name: to_official(name, v.numpy()).shape for name, v in _variables(model).items() if name.startswith("backbone.")}
    return {name.removeprefix("backbone."): random.random(shape).astype(np.float32) for name, shape in names.items()}


def test_complete_file(model, write):
    arrays = _backbone(model)
    report = load_npz(model, write(**arrays, **{"fc.weight": np.zeros([10, 4]), "bn1.num_batches_tracked": np.array(7)}))
    assert len(report.loaded) == len(arrays)
    assert report.missing == report.unexpected == ()
    assert report.ignored == ("bn1.num_batches_tracked", "fc.weight")
    kernel = model.get_layer("backbone.layer2.0.conv1").kernel.numpy()
    assert kernel[0, 2, 3, 5] == arrays["layer2.0.conv1.weight"][5, 3, 0, 2]
    np.testing.assert_array_equal(model.get_layer("backbone.bn1").moving_variance, arrays["bn1.running_var"])
    np.testing.assert_array_equal(model.get_layer("backbone.layer3.0.downsample.1").beta, arrays["layer3.0.downsample.1.bias"])


def test_partial_file_leaves_the_rest_as_it_is(model, write):
    before = {name: v.numpy() for name, v in _variables(model).items()}
    arrays = {name: array for name, array in _backbone(model).items() if not name.startswith("layer4.")}
    report = load_npz(model, write(**arrays, strange=np.zeros(3)))
    assert {name.rsplit(".", 1)[0][:15] for name in report.missing} == {"backbone.layer4"}
    assert report.unexpected == ("strange",)
    for name, variable in _variables(model).items():
        assert np.array_equal(variable, before[name]) == (name not in report.loaded), name


def test_report_says_what_happened_on_one_screen(model, write):
    arrays = {name: array for name, array in _backbone(model).items() if not name.startswith("layer4.")}
    path = write(**arrays, **{"fc.weight": np.zeros([10, 4]), "strange.weight": np.zeros(3)})
    assert str(load_npz(model, path)).splitlines() == [
        f"{path}: 75 tensors loaded",
        "  25 not in the file: backbone.layer4 (25)",
        "  1 ignored: fc (1)",
        "  1 unknown: strange (1)",
    ]


def test_missing_file(model, tmp_path):
    with pytest.raises(UserError, match=r"none\.npz: cannot be read \(No such file or directory\)"):
        load_npz(model, tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 a broken archive"], ids=["empty", "text", "broken"])
def test_file_of_another_kind(model, tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.npz: is not an \.npz file"):
        load_npz(model, path)


def test_one_array_and_pickles_are_refused(model, tmp_path, write):
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(UserError, match="one array"):
        load_npz(model, tmp_path / "one.npy")
    with pytest.raises(UserError, match="plain arrays"):
        load_npz(model, write(**{"conv1.weight": np.array([{}], object)}))


def test_file_of_another_network(model, write):
    with pytest.raises(UserError, match=r"weights\.npz: none of its 2 names .* conv1\.weight"):
        load_npz(model, write(**{"features.0.weight": np.zeros(3), "features.1.weight": np.zeros(3)}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer1.0.conv1.weight", np.zeros([64, 64, 3, 3]), r"layer1\.0\.conv1\.weight has the shape \(64, 64, 3, 3\), .* \(8, 8, 3, 3\)"),
        ("bn1.running_var", np.full(8, np.nan), r"bn1\.running_var .* not finite"),
        ("bn1.weight", np.zeros(8, complex), r"bn1\.weight \(complex128\)"),
    ],
    ids=["shape", "nan", "type"],
)
def test_wrong_tensor_is_named_and_nothing_changes(model, write, name, value, message):
    before = {key: v.numpy() for key, v in _variables(model).items()}
    with pytest.raises(UserError, match=message):
        load_npz(model, write(**{**_backbone(model), name: value}))
    for key, variable in _variables(model).items():
        np.testing.assert_array_equal(variable, before[key])
