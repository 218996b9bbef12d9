"""Backbones of keras-cv, with strides 4 to 32 for the same neck and heads.

They are built from explicit arguments, which needs no internet; keras-cv's short class names contact a hub even for a network without
weights. Their layers are part of our functional model, under names that say the stage and do not depend on what else was built in the
process: "backbone.stage2.dark3_csp". keras-cv is imported inside the functions of this file and nowhere else.

What is keras-cv's own: padding ("same": the far side of even maps), epsilons of the normalisations, distributions of the initial
values. What is this package's: the momentum of the normalisations (keras-cv's 0.99 and 0.999 need thousands of steps to settle),
seeds of the initial values, and no random depth in EfficientNetV2, whose random state no checkpoint holds.

Input: keras-cv's weights were trained on pixels divided by 255, so a first layer turns the normalised image back into 0..1.

Reference: keras-cv 0.9, `keras_cv.models`; He et al., arXiv:1512.03385; Wang et al., arXiv:1911.11929, and Ge et al., arXiv:2107.08430
(CSPDarkNet); Tan and Le, arXiv:2104.00298; Howard et al., arXiv:1905.02244.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.keras2 import keras, layers
from ttfnet_tf.layers.batch_norm import MOMENTUM
from ttfnet_tf.layers.initializers import seeded
from ttfnet_tf.models.normalization import MEAN, STD


@dataclass(frozen=True)
class _Network:
    """One size of a family of keras-cv."""

    family: str  # class in keras_cv.models
    arguments: Callable[[float], dict[str, Any]]  # of the class, for a factor of the published channels
    stem: tuple[str, ...]  # how the names of the layers before stage 1 begin
    presets: tuple[str, ...]  # keras-cv's weights of this size


def _resnet50(scale):
    return {
        "stackwise_filters": [int(filters * scale) for filters in (64, 128, 256, 512)],
        "stackwise_blocks": [3, 4, 6, 3],
        "stackwise_strides": [1, 2, 2, 2],
        "block_type": "block",
    }


def _csp_darknet_s(scale):
    return {"stackwise_channels": [int(channels * scale) for channels in (64, 128, 256, 512)], "stackwise_depth": [1, 3, 3, 1]}


def _efficientnet_v2_s(scale):
    return {
        "stackwise_kernel_sizes": [3, 3, 3, 3, 3, 3],
        "stackwise_num_repeats": [2, 4, 4, 6, 9, 15],
        "stackwise_input_filters": [24, 24, 48, 64, 128, 160],
        "stackwise_output_filters": [24, 48, 64, 128, 160, 256],
        "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6],
        "stackwise_squeeze_and_excite_ratios": [0.0, 0.0, 0.0, 0.25, 0.25, 0.25],
        "stackwise_strides": [1, 2, 2, 2, 1, 2],
        "stackwise_conv_types": ["fused"] * 3 + ["unfused"] * 3,
        "width_coefficient": scale,
        "depth_coefficient": 1.0,
        "skip_connection_dropout": 0.0,
    }


def _mobilenet_v3_small(scale):
    return {
        "stackwise_expansion": [1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
        "stackwise_filters": [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
        "stackwise_kernel_size": [3, 3, 3] + [5] * 8,
        "stackwise_stride": [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
        "stackwise_se_ratio": [0.25, None, None] + [0.25] * 8,
        "stackwise_activation": ["relu"] * 3 + ["hard_swish"] * 8,
        "alpha": scale,
    }


_NETWORKS = {
    "resnet50": _Network("ResNetBackbone", _resnet50, ("conv1_", "pool1_"), ("resnet50_imagenet",)),
    # Of this family there are weights of the sizes tiny and l only.
    "csp_darknet_s": _Network("CSPDarkNetBackbone", _csp_darknet_s, ("stem_",), ()),
    "efficientnet_v2_s": _Network("EfficientNetV2Backbone", _efficientnet_v2_s, ("stem_",), ("efficientnetv2_s_imagenet",)),
    "mobilenet_v3_small": _Network("MobileNetV3Backbone", _mobilenet_v3_small, ("Conv",), ("mobilenet_v3_small_imagenet",)),
}

# Names that Keras numbers by what it has made so far in the process.
_NUMBERED = re.compile(r"(tf\..+?|multiply|re_lu|squeeze_and_excite2d)(_\d+)?")


def keras_cv_backbone(inputs, *, network: str, width: int = 64, synchronized: bool = False, seed: int = 0) -> list:
    """One of keras-cv's backbones.

    Args:
        inputs: [B, H, W, 3] Keras tensor, normalised; H and W multiples of 32.
        network: `resnet50`, `csp_darknet_s`, `efficientnet_v2_s` or `mobilenet_v3_small`.
        width: 64 is the published size; others scale the channels by width / 64 as far as the family allows, for tests.
        synchronized: must be False: these layers have statistics of one replica only.
        seed: of the initial values.

    Returns:
        [P2, P3, P4, P5], keras-cv's pyramid levels: [B, H/4, W/4, ...] to [B, H/32, W/32, ...].

    Raises:
        ValueError: `synchronized`.
    """
    if synchronized:
        raise ValueError(f"keras_cv/{network} has no synchronized normalisations")
    scale, offset = [std / 255.0 for std in STD], [mean / 255.0 for mean in MEAN]
    x = layers.Rescaling(scale, offset, dtype="float32", name="backbone.stem.rescaling")(inputs)
    description = _NETWORKS[network]
    backbone = _family(description)(**description.arguments(width / 64), include_rescaling=False, input_tensor=x)
    levels = [backbone.get_layer(backbone.pyramid_level_inputs[f"P{level}"]) for level in range(2, 6)]
    for name, layer in _named_layers(backbone, description).items():
        layer._name = name  # before our model is made of them; Keras has no public way to rename a layer
        _initialize(layer, seed)
    # keras-cv has made a model of its own of these layers, which is the second place where they are used.
    return [layer.get_output_at(0) for layer in levels]


def load_preset(model: keras.Model, preset: str, *, backbone: str) -> str:
    """Copies the values of one of keras-cv's pretrained backbones; downloads it only where the user has named it by keras-cv's name.

    Args:
        model: from `build_model`, of full width.
        preset: keras-cv's name of the weights, e.g. `resnet50_imagenet`; or a folder with config.json and model.weights.h5.
        backbone: the model's, e.g. `keras_cv/resnet50`.

    Returns:
        One line about what was loaded.

    Raises:
        UserError: no such weights for this backbone, no network, or weights of another form. The model is unchanged then.
    """
    description = _NETWORKS[backbone.partition("/")[2]]
    family = _family(description)
    is_folder = Path(preset).is_dir()
    if is_folder:
        _check_folder(preset)
    else:
        _check_preset(preset, backbone, description, family)
    try:
        source = family.from_preset(preset, load_weights=True)
    except Exception as error:  # the packages in between raise a dozen unrelated classes when a download fails
        if is_folder:
            raise UserError(f"model.pretrained={preset}: keras-cv cannot read it as weights of {backbone} ({_one_line(error)})") from error
        raise UserError(
            f"model.pretrained={preset}: keras-cv cannot download it ({_one_line(error)}); it needs the network once; "
            "without it name a folder with its config.json and model.weights.h5, or leave model.pretrained out"
        ) from error
    values = {name: layer.get_weights() for name, layer in _named_layers(source, description).items() if layer.weights}
    targets = {layer.name: layer for layer in model.layers if layer.name.startswith("backbone.") and layer.weights}
    for name in sorted({*values, *targets}):
        ours = [tuple(variable.shape) for variable in targets[name].weights] if name in targets else None
        theirs = [array.shape for array in values[name]] if name in values else None
        if ours != theirs:
            raise UserError(f"model.pretrained={preset}: {name} has the shapes {theirs} there and {ours} in {backbone}; they do not fit")
    for name, layer in targets.items():
        layer.set_weights(values[name])
    return f"{preset}: {sum(map(len, values.values()))} tensors of keras-cv loaded into {backbone}, trained on pixels from 0 to 1"


def _check_folder(folder):
    missing = [name for name in ("config.json", "model.weights.h5") if not (Path(folder) / name).is_file()]
    if missing:
        raise UserError(f"model.pretrained={folder}: {' and '.join(missing)} missing in this folder; keras-cv's weights are both files")


def _check_preset(preset, backbone, description, family):
    if preset in description.presets:
        return
    others = sorted(set(family.presets_with_weights) - set(description.presets))
    if not description.presets:
        raise UserError(
            f"model.pretrained={preset}: keras-cv has no weights for {backbone} (of its family: {', '.join(others)}); "
            "leave model.pretrained out"
        )
    nearest = difflib.get_close_matches(preset, description.presets, n=1, cutoff=0.0)[0]
    reason = "are weights of another size than" if preset in others else "is no name of keras-cv's weights for"
    raise UserError(f"model.pretrained={preset} {reason} {backbone}; did you mean '{nearest}'?")


def _family(description):
    # keras-core, which keras-cv imports, prints the name of its backend.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            import keras_cv
        except ImportError as error:
            missing = f"needs {error.name or 'keras-cv'}, which is not installed"
            raise UserError(f"model.backbone=keras_cv/...: {missing}; pip install 'keras-cv>=0.9,<0.10'") from None
    if not issubclass(keras_cv.models.Backbone, keras.Model):
        raise UserError("model.backbone=keras_cv/...: keras-cv took Keras 3; set TF_USE_LEGACY_KERAS=1 before TensorFlow is imported")
    return getattr(keras_cv.models, description.family)


def _named_layers(backbone, description):
    """Our name -> layer, for the layers up to P5.

    Stage n ends with P(n + 1). Every layer is either before the end of a stage or after it, and Keras sorts them by depth.
    """
    ends = {backbone.pyramid_level_inputs[f"P{stage + 1}"]: stage for stage in range(1, 5)}
    named, stage, counts = {}, 1, {}
    for layer in backbone.layers:
        if isinstance(layer, (layers.InputLayer, layers.Rescaling)):
            continue
        name = layer.name
        where = "stem" if stage == 1 and name.startswith(description.stem) else f"stage{stage}"
        numbered = _NUMBERED.fullmatch(name)
        if numbered:
            kind = numbered.group(1)
            counts[kind] = counts.get(kind, 0) + 1
            name = f"{kind}.{counts[kind] - 1}"
        named[f"backbone.{where}.{name}"] = layer
        if layer.name in ends:
            stage = ends[layer.name] + 1
            if stage == 5:
                return named
    raise ValueError(f"{description.family} has no pyramid levels P2 to P5")


def _initialize(layer, seed):
    """Initial values from the seed, and our momentum, in a layer and the layers inside it."""
    for number, part in enumerate((layer, *layer.submodules)):
        if not getattr(part, "weights", None):
            continue
        name = f"{layer.name}/{number}"
        if isinstance(part, layers.BatchNormalization):
            part.momentum = MOMENTUM
        elif isinstance(part, layers.DepthwiseConv2D):
            part.depthwise_kernel.assign(seeded(part.depthwise_initializer, seed, name)(part.depthwise_kernel.shape))
        elif isinstance(part, layers.Conv2D):
            part.kernel.assign(seeded(part.kernel_initializer, seed, name)(part.kernel.shape))


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
