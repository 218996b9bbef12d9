"""Matching of tensors by names and shapes."""

import numpy as np
import pytest

from ttfnet_tf.weights.names import Mismatch, darknet53_tensors, for_keras_cv, for_other_input, match, num_classes_of, summary

MODEL = {
    "backbone.conv1.weight": (4, 3, 7, 7),
    "backbone.bn1.bias": (4,),
    "bbox_head.deconv_layers.0.1.bias": (8,),
    "bbox_head.hm.1.weight": (2, 8, 1, 1),
    "bbox_head.hm.1.bias": (2,),
    "bbox_head.wh.1.bias": (4,),
}
BACKBONE = {"conv1.weight": (4, 3, 7, 7), "bn1.bias": (4,)}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_a_backbone_by_any_prefix(prefix):
    found = match({prefix + name: shape for name, shape in BACKBONE.items()}, MODEL)
    assert found.pairs == {f"backbone.{name}": prefix + name for name in BACKBONE}
    assert (found.missing, found.unused, found.ignored, found.mismatched) == ((), (), (), ())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_in_a_whole_detector_any_tensor_can_be_missing(prefix):
    whole = {prefix + name: shape for name, shape in MODEL.items() if "wh" not in name}
    found = match(whole, MODEL)
    assert found.pairs == {name.removeprefix("module."): name for name in whole}
    assert found.missing == ("bbox_head.wh.1.bias",)


def test_names_of_early_official_versions():
    found = match({**BACKBONE, "bbox_head.upsample_layers.0.1.bias": (8,)}, {**BACKBONE, "bbox_head.deconv_layers.0.1.bias": (8,)}, "")
    assert found.pairs["bbox_head.deconv_layers.0.1.bias"] == "bbox_head.upsample_layers.0.1.bias"
    assert found.unused == ()


NEEDLESS = [
    "backbone.bn1.num_batches_tracked",
    "fc.weight",
    "fc.bias",
    "backbone.fc.bias",
    "output.weight",
    "bbox_head.shortcut_layers.0.shortcut.weight",
    "bbox_head.shortcut_layers.2.shortcut.bias",
    "module.bbox_head.shortcut_layers.1.shortcut.bias",
    "base.level3.project.0.weight",
    "backbone.base.level4.project.1.running_mean",
    "level3.project.1.bias",
]
STRANGE = [
    "bbox_head.shortcut_layers.0.layers.0.weight",
    "layer1.fc.weight",
    "backbone.base.level3.tree1.project.0.weight",
    "x.output.weight",
    "backbone.base.level2.project.0.weight",
    "level5.project.1.bias",
]


def test_only_what_no_detector_needs_is_ignored():
    found = match(dict.fromkeys([*BACKBONE, *NEEDLESS, *STRANGE], (1,)), {**MODEL, **{f"backbone.{n}": (1,) for n in BACKBONE}})
    assert sorted(found.ignored) == sorted(NEEDLESS)
    assert sorted(found.unused) == sorted(STRANGE)


def test_a_neck_is_ignored_by_a_network_without_one():
    unused = {"bbox_head.deconv_layers.0.1.bias": (8,), "module.bbox_head.shortcut_layers.1.layers.2.weight": (8, 8, 3, 3)}
    own = {name: shape for name, shape in MODEL.items() if "deconv" not in name}
    assert sorted(match({**own, **unused}, own).ignored) == sorted(unused)
    assert match({**MODEL, **unused}, MODEL).unused == ("module.bbox_head.shortcut_layers.1.layers.2.weight",)


def test_a_second_tensor_for_the_same_name_is_unused():
    found = match({"backbone.bn1.bias": (4,), "module.backbone.bn1.bias": (4,)}, MODEL)
    assert found.pairs == {"backbone.bn1.bias": "backbone.bn1.bias"}
    assert found.unused == ("module.backbone.bn1.bias",)


def test_shapes_that_differ():
    found = match({**MODEL, "bbox_head.hm.1.weight": (80, 8, 1, 1), "bbox_head.hm.1.bias": (80,), "backbone.bn1.bias": (5,)}, MODEL)
    assert found.mismatched == (
        Mismatch("backbone.bn1.bias", (5,), (4,)),
        Mismatch("bbox_head.hm.1.weight", (80, 8, 1, 1), (2, 8, 1, 1)),
        Mismatch("bbox_head.hm.1.bias", (80,), (2,)),
    )
    assert [m.depends_on_classes() for m in found.mismatched] == [False, True, True]
    assert found.missing == ()


@pytest.mark.parametrize(
    ("mismatch", "expected"),
    [
        (Mismatch("bbox_head.wh.2.weight", (320, 64, 1, 1), (4, 64, 1, 1)), True),
        (Mismatch("bbox_head.hm.2.weight", (80, 64, 1, 1), (3, 128, 1, 1)), False),
        (Mismatch("bbox_head.hm.0.conv.weight", (64, 64, 3, 3), (128, 64, 3, 3)), False),
        (Mismatch("backbone.hm.2.bias", (80,), (3,)), False),
    ],
)
def test_shapes_that_depend_on_the_number_of_classes(mismatch, expected):
    assert mismatch.depends_on_classes() == expected


def test_number_of_classes():
    assert num_classes_of({**MODEL, "bbox_head.hm.0.conv.weight": (64, 8, 3, 3)}) == 2
    assert num_classes_of({"module.bbox_head.hm.10.weight": (7, 8, 1, 1), "module.bbox_head.hm.9.weight": (5, 8, 1, 1)}) == 7
    assert num_classes_of(BACKBONE) is None


def test_the_base_of_dla():
    needed = {"backbone.base.level0.0.weight": (16, 16, 3, 3), "backbone.dla_up.ida_0.up_1.weight": (256, 1, 4, 4)}
    found = match({"level0.0.weight": (16, 16, 3, 3), "fc.weight": (1000, 512, 1, 1)}, needed)
    assert found.pairs == {"backbone.base.level0.0.weight": "level0.0.weight"}
    assert found.missing == ("backbone.dla_up.ida_0.up_1.weight",)
    assert found.ignored == ("fc.weight",)


# Names from the two definitions: torchvision's Bottleneck and keras-cv's `apply_block`.
RESNET50 = {
    "conv1.weight": "stem.conv1_conv.weight",
    "bn1.running_var": "stem.conv1_bn.running_var",
    "layer1.0.conv1.weight": "stage1.v2_stack_0_block1_1_conv.weight",
    "layer1.0.bn3.bias": "stage1.v2_stack_0_block1_3_bn.bias",
    "layer1.0.downsample.0.weight": "stage1.v2_stack_0_block1_0_conv.weight",
    "module.layer1.0.downsample.1.running_mean": "stage1.v2_stack_0_block1_0_bn.running_mean",
    "layer3.5.conv2.weight": "stage3.v2_stack_2_block6_2_conv.weight",
    "layer4.2.bn1.weight": "stage4.v2_stack_3_block3_1_bn.weight",
    "fc.weight": "fc.weight",
    "layer1.0.strange": "layer1.0.strange",
}


def test_names_of_resnet50_in_keras_cv():
    arrays = {name: np.zeros(1) for name in RESNET50}
    found = for_keras_cv(arrays)
    assert set(found) == set(RESNET50.values())
    assert all(found[ours] is arrays[name] for name, ours in RESNET50.items())


def test_summary_counts_by_module():
    names = ["backbone.layer4.0.conv1.weight", "backbone.layer4.1.bn1.bias", "fc.weight", "fc.bias", "strange"]
    assert summary(names) == "backbone.layer4 (2), fc (2), strange (1)"
    assert summary([f"m{i}.weight" for i in range(13)]).endswith("m11 (1), ...")


# Darknet. Widths of one or two channels; the order is that of darknet53.cfg.


def _darknet53_shapes(width=1):
    """Names and shapes in the order of the file, from the table in the YOLOv3 paper."""
    convolutions = [("stem", 3, width, 3)]
    for stage, blocks in enumerate([1, 2, 8, 8, 4], start=1):
        channels = width * 2**stage
        convolutions.append((f"layer{stage}.0", channels // 2, channels, 3))
        for block in range(1, blocks + 1):
            convolutions.append((f"layer{stage}.{block}.body.0", channels, channels // 2, 1))
            convolutions.append((f"layer{stage}.{block}.body.1", channels // 2, channels, 3))
    assert len(convolutions) == 52
    shapes = {}
    for name, inputs, outputs, size in convolutions:
        for leaf in ("bn.bias", "bn.weight", "bn.running_mean", "bn.running_var"):
            shapes[f"{name}.{leaf}"] = (outputs,)
        shapes[f"{name}.conv.weight"] = (outputs, inputs, size, size)
    return shapes


def _numbers(shapes, seed=0):
    random = np.random.default_rng(seed)
    arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays.update({name: np.abs(array) for name, array in arrays.items() if name.endswith("running_var")})
    return arrays, np.concatenate([array.ravel() for array in arrays.values()])


def test_the_full_network_has_as_many_values_as_its_file():
    # darknet53.conv.74 has 162 482 580 bytes, 20 of them header: 40 620 640 values, the sum of the shapes.
    assert sum(int(np.prod(shape)) for shape in _darknet53_shapes(32).values()) == 40_620_640


@pytest.mark.parametrize(
    ("after", "note"),
    [
        (0, ""),
        (3, "3 values after the 52 convolutions are unused: layers of another network"),
        (1_025_000, "1025000 values after the 52 convolutions are unused: the ImageNet classifier"),
    ],
)
def test_darknet_values_get_names(after, note):
    shapes = _darknet53_shapes()
    arrays, values = _numbers(shapes)
    tensors, rest = darknet53_tensors(np.append(values, np.ones(after, np.float32)), dict(sorted(shapes.items())))
    assert rest == note
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)


def test_a_darknet_file_of_another_network():
    shapes = _darknet53_shapes()
    _, values = _numbers(shapes)
    with pytest.raises(
        ValueError, match=r"it holds \d+ values and ends inside layer5\.4\.body\.1\.conv\.weight: it is truncated, or for another network"
    ):
        darknet53_tensors(values[:-1], shapes)
    with pytest.raises(ValueError, match=r"some values in the place of the variances of stem are negative"):
        darknet53_tensors(-values, shapes)
    with pytest.raises(ValueError, match="the backbone is not DarkNet-53"):
        darknet53_tensors(values, {"conv1.weight": (64, 3, 7, 7)})


def test_a_converted_stem_gives_the_same_on_normalised_images():
    """Convolution and normalisation of one window, as Darknet computes them and after the conversion."""
    random = np.random.default_rng(1)
    tensors = {
        "stem.conv.weight": random.standard_normal([2, 3, 3, 3]).astype(np.float32),
        "stem.bn.running_mean": np.array([0.3, -0.2], np.float32),
        "other": np.array([1.0], np.float32),
    }
    mean, std = np.array([120.0, 110.0, 100.0]), np.array([60.0, 50.0, 40.0])
    pixels = random.integers(0, 256, [3, 3, 3])  # one window, colour first
    darknet = np.einsum("oihw,ihw->o", tensors["stem.conv.weight"], pixels / 255) - tensors["stem.bn.running_mean"]

    unit = std / 255  # pixel / 255 = unit * normalised + mean / 255
    ours = for_other_input(tensors, unit, mean / 255, convolution="stem.conv", normalization="stem.bn")
    normalised = (pixels - mean[:, None, None]) / std[:, None, None]
    here = np.einsum("oihw,ihw->o", ours["stem.conv.weight"], normalised) - ours["stem.bn.running_mean"]
    np.testing.assert_allclose(here, darknet, rtol=1e-5)
    assert ours["other"] is tensors["other"]
    assert ours["stem.conv.weight"].dtype == np.float32
