"""Settings: typed, inherited, overridable, checked before TensorFlow is imported.

A configuration is a YAML file that may name one `base:` file (relative to itself) and lists what differs from it.
Command-line overrides are dotted `key=value` pairs. The result is a tree of frozen dataclasses; nothing else in the
package knows about YAML or omegaconf. Settings stop at the `build_*` functions and the training loop.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, Union, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ttfnet_tf.errors import UserError


@dataclass(frozen=True)
class SplitConfig:
    """One annotated set of images in COCO format."""

    annotations: str = ""  # COCO instances JSON
    images: str = ""  # folder that the file names in it are relative to


@dataclass(frozen=True)
class DataConfig:
    train: SplitConfig = field(default_factory=SplitConfig)
    val: SplitConfig = field(default_factory=SplitConfig)
    image_size: list[int] = field(default_factory=lambda: [512, 512])  # [height, width] in pixels, multiples of 32
    crowd: Literal["background", "object"] = "background"  # boxes with iscrowd=1; the reference never shows them to the head
    min_box_size: float = 1.0  # px of the original image; boxes with a shorter side are dropped (reference: 1)
    min_image_size: int = 32  # px; training images with a shorter side are dropped (reference: 32)
    empty_images: Literal["drop", "keep"] = "drop"  # training images without a usable box (reference: never trained on)
    broken_images: Literal["raise", "skip"] = "raise"  # an image that does not decode; "skip" counts it and goes on
    workers: int = 0  # parallel calls of the input pipeline; 0 lets tf.data choose


@dataclass(frozen=True)
class AugmentConfig:
    flip: float = 0.5  # probability of a horizontal flip
    photometric: bool = False  # brightness, contrast, saturation, hue and channel order (10x recipes)
    expand: float = 0.0  # probability to put the image on a canvas of up to 4 x 4 its size (10x recipes: 0.5)
    min_iou_crop: bool = False  # crop so that boxes keep a random share (10x recipes)
    affine: bool = False  # random scale and shift (CenterNet)
    lighting: bool = False  # colour jitter and noise along the principal colours (CenterNet)


@dataclass(frozen=True)
class HeadConfig:
    width: int = 128  # channels of each 3x3 convolution
    depth: int = 2  # number of 3x3 convolutions before the last 1x1


@dataclass(frozen=True)
class ModelConfig:
    backbone: Literal[
        "resnet18",
        "resnet34",
        "darknet53",
        "dla34",
        "keras_cv/resnet50",
        "keras_cv/csp_darknet_s",
        "keras_cv/efficientnet_v2_s",
        "keras_cv/mobilenet_v3_small",
    ] = "resnet18"
    head: Literal["ttfnet", "centernet"] = "ttfnet"  # centernet: the baseline of the paper's Figure 1
    pretrained: Optional[str] = None  # file of the backbone, timm/<name>, or a preset of keras-cv; partial files are accepted
    frozen_stages: int = 1  # -1 none, 0 stem, n: stem and stages 1..n (reference: 1, from scratch: -1)
    zero_init_residual: bool = True  # last BN scale of each residual branch starts at 0 (reference; False from scratch)
    batch_norm: Literal["local", "synchronized"] = "local"  # statistics per replica, or over all replicas
    neck: Literal["deformable", "plain"] = "deformable"
    sampler: Literal["crop_and_resize", "gather"] = "crop_and_resize"  # form of the deformable convolution
    neck_channels: list[int] = field(default_factory=lambda: [256, 128, 64])  # after each x2 upsampling
    shortcut: list[int] = field(default_factory=lambda: [3, 2, 1])  # 3x3 convolutions from stages 2, 3, 4; 0 is no shortcut
    upsampling: Literal["bilinear", "transposed"] = "bilinear"  # of the neck; transposed: learned 4x4 convolutions (CenterNet)
    heatmap_head: HeadConfig = field(default_factory=HeadConfig)
    box_head: HeadConfig = field(default_factory=lambda: HeadConfig(width=64, depth=1))
    box_per_class: bool = False  # one box for each class and cell (paper, Table 2 "class-aware")


@dataclass(frozen=True)
class TargetsConfig:
    alpha: float = 0.54  # size of the heatmap kernel relative to the box
    beta: float = 0.54  # size of the regression sub-area relative to the box
    area: Literal["gaussian", "rectangle"] = "gaussian"  # shape and weights of the sub-area
    weight: Literal["none", "norm", "sqrt", "log", "equal"] = "log"  # of a box of area a: a, 1, sqrt(a), log(a); equal: no sharing out
    kernel: Literal["aspect", "cornernet"] = "aspect"  # follows the sides of the box, or CornerNet's square
    backend: Literal["py_function", "graph", "device"] = "py_function"


@dataclass(frozen=True)
class LossesConfig:
    heatmap_weight: float = 1.0
    box_weight: float = 5.0  # of the GIoU loss, or of CenterNet's L1 loss of width and height (its recipe: 0.1)
    offset_weight: float = 1.0  # of CenterNet's L1 loss of the centre in its cell
    normalizer: Literal["global", "replica"] = "global"  # sums are divided by counts of the whole batch, or of each replica


@dataclass(frozen=True)
class OptimConfig:
    lr: float = 0.016  # for a global batch of lr_batch_size images
    lr_batch_size: int = 128
    scale_lr: bool = True  # another train.batch_size scales lr linearly (Goyal et al. 2017)
    name: Literal["sgd", "adam", "adamw", "lamb", "novograd", "radam", "sgdw"] = "sgd"  # sgd: the official rules
    momentum: float = 0.9  # of sgd and sgdw; beta 1 of the others
    weight_decay: float = 4e-4  # added to the gradient, as PyTorch does
    bias_lr_multiplier: float = 2.0  # by the name rule of the reference, see optim.py
    bias_weight_decay: float = 0.0
    clip_norm: float = 35.0  # global L2 norm of the gradient; 0 is off
    schedule: Literal["step", "cosine"] = "step"
    drop_epochs: list[float] = field(default_factory=lambda: [9.0, 11.0])  # step: lr x drop_factor from these epochs on
    drop_factor: float = 0.1
    warmup_steps: int = 500
    warmup_ratio: float = 0.2  # lr at step 0 relative to its full value
    ema_decay: float = 0.0  # moving average of the weights, used for evaluation; 0 is off


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = 12
    batch_size: int = 128  # over all replicas
    seed: int = 0
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    strategy: Literal["mirrored", "multi_worker"] = "mirrored"
    devices: list[str] = field(default_factory=list)  # e.g. [gpu:0, gpu:1] or [cpu:0, cpu:1]; empty is every GPU, else the CPU
    steps_per_call: int = 1  # training steps inside one call of the compiled function
    log_every: int = 10  # steps between two lines of metrics.jsonl
    checkpoint_every: int = 1  # epochs
    keep_checkpoints: int = 3  # the latest ones; the best by AP is kept beside them
    evaluate_every: int = 1  # epochs; 0 is never
    summary_images: int = 4  # images of each kind in TensorBoard at each evaluation; 0 is none
    profile_steps: list[int] = field(default_factory=list)  # [first, last] steps, from 1, that TensorFlow's profiler records; empty is off
    report: bool = False  # write report.html into the work directory when training is done
    on_divergence: Literal["stop", "skip", "rollback"] = "stop"  # at a loss or gradient that is not finite, or a loss that explodes
    explode_factor: float = 20.0  # a loss above so many times its running mean explodes; 0 is off


@dataclass(frozen=True)
class DecodeConfig:
    top_k: int = 100  # detections of an image at most
    score_threshold: float = 0.01  # only detections above it are kept


@dataclass(frozen=True)
class ExportConfig:
    max_pixels: int = 50_000_000  # height x width of an image file that an exported graph decodes at most; larger ones are refused


@dataclass(frozen=True)
class Config:
    """Everything that defines a run."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    losses: LossesConfig = field(default_factory=LossesConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def load_config(path: Union[str, Path], overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file and its base, applies `key=value` overrides and checks the result.

    Args:
        path: YAML file.
        overrides: dotted assignments such as `optim.lr=0.01`; values are YAML.

    Raises:
        UserError: file missing or not YAML, unknown key, wrong type, impossible combination.
    """
    path = Path(path)
    return _build(_read_with_base(path), overrides, str(path))


def config_of(content: dict[str, Any], overrides: Sequence[str] = (), *, source: str) -> Config:
    """Settings from a tree as `dataclasses.asdict` makes it of a Config; `source` names it in messages.

    Raises:
        UserError: unknown key, wrong type, impossible combination.
    """
    return _build([(Path(source), content)], overrides, source)


def _build(chain: Sequence[tuple[Path, dict]], overrides: Sequence[str], source: str) -> Config:
    """Contents of files, each over the earlier ones, then overrides, checked."""
    merged = _schema()
    for file, content in chain:
        merged = _merge(merged, content, str(file))
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key or not value:
            raise UserError(f"override '{override}' must have the form key=value, e.g. optim.lr=0.01")
        assignment = OmegaConf.create()
        try:
            OmegaConf.update(assignment, key, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise UserError(f"override '{override}': its value is not YAML ({_yaml_fault(error)})") from None
        except OmegaConfBaseException as error:
            raise UserError(f"override '{override}': {_first_line(error)}") from None
        merged = _merge(merged, OmegaConf.to_container(assignment), f"override '{override}'")
    config = cast(Config, OmegaConf.to_object(merged))
    check_config(config, source)
    return config


def dump_config(config: Config) -> str:
    """The complete settings as YAML; `load_config` of it gives an equal Config."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def check_config(config: Config, source: str) -> None:
    """Refuses values and combinations that no run could use.

    Args:
        source: file name for the message.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    for key, is_valid, rule in _RULES:
        value = config
        for part in key.split("."):
            value = getattr(value, part)
        if not is_valid(value, config):
            raise UserError(f"{source}: {key}={value} {rule}")


def effective_lr(config: Config) -> float:
    """Peak learning rate for the configured batch: `optim.lr`, scaled linearly from `optim.lr_batch_size`."""
    scale = config.train.batch_size / config.optim.lr_batch_size if config.optim.scale_lr else 1.0
    return config.optim.lr * scale


def _finite_positive(value, _):
    return math.isfinite(value) and value > 0


def _not_negative(value, _):
    return math.isfinite(value) and value >= 0


def _fraction(value, _):
    return 0 <= value <= 1


_POSITIVE = "must be above 0"
_NOT_NEGATIVE = "must be 0 or more"
_FRACTION = "must lie in 0..1"

# (key, test of value and whole config, what the value must be)
_RULES: tuple[tuple[str, Any, str], ...] = (
    (
        "data.image_size",
        lambda v, _: len(v) == 2 and all(s > 0 and s % 32 == 0 for s in v),
        "must be [height, width], both multiples of 32, for the deepest stride is 32",
    ),
    ("data.min_box_size", _not_negative, _NOT_NEGATIVE),
    ("data.min_image_size", _not_negative, _NOT_NEGATIVE),
    ("data.workers", _not_negative, _NOT_NEGATIVE),
    ("augment.flip", _fraction, _FRACTION),
    ("augment.expand", _fraction, _FRACTION),
    ("model.frozen_stages", lambda v, _: -1 <= v <= 5, "must lie in -1..5 (-1 freezes nothing, 0 the stem)"),
    ("model.neck_channels", lambda v, _: len(v) == 3 and all(c > 0 for c in v), "must be three channel counts"),
    ("model.shortcut", lambda v, _: len(v) == 3 and all(0 <= n <= 9 for n in v), "must be three numbers of layers in 0..9"),
    ("model.heatmap_head.width", _finite_positive, _POSITIVE),
    ("model.heatmap_head.depth", _not_negative, _NOT_NEGATIVE),
    ("model.box_head.width", _finite_positive, _POSITIVE),
    ("model.box_head.depth", _not_negative, _NOT_NEGATIVE),
    ("targets.alpha", _finite_positive, _POSITIVE),
    ("targets.beta", _finite_positive, _POSITIVE),
    (
        "targets.beta",
        lambda v, c: v <= 1 or c.targets.area != "rectangle",
        "must be at most 1 with targets.area=rectangle, or the sub-area would leave its box",
    ),
    ("losses.heatmap_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.box_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.offset_weight", _not_negative, _NOT_NEGATIVE),
    ("optim.lr", _finite_positive, _POSITIVE),
    ("optim.lr_batch_size", _finite_positive, _POSITIVE),
    ("optim.momentum", lambda v, _: 0 <= v < 1, "must lie in 0..1, 1 excluded"),
    ("optim.weight_decay", _not_negative, _NOT_NEGATIVE),
    ("optim.bias_weight_decay", _not_negative, _NOT_NEGATIVE),
    ("optim.bias_lr_multiplier", _not_negative, _NOT_NEGATIVE),
    ("optim.clip_norm", _not_negative, _NOT_NEGATIVE),
    ("optim.drop_epochs", lambda v, _: v == sorted(v) and all(e > 0 for e in v), "must be rising epochs above 0"),
    (
        "optim.drop_epochs",
        lambda v, c: c.optim.schedule != "step" or all(e < c.train.epochs for e in v),
        "must all lie before the last of train.epochs",
    ),
    ("optim.drop_factor", _fraction, _FRACTION),
    ("optim.warmup_steps", _not_negative, _NOT_NEGATIVE),
    ("optim.warmup_ratio", _fraction, _FRACTION),
    ("optim.ema_decay", lambda v, _: 0 <= v < 1, "must lie in 0..1, 1 excluded (0 is off)"),
    ("train.epochs", _finite_positive, _POSITIVE),
    ("train.batch_size", _finite_positive, _POSITIVE),
    (
        "train.batch_size",
        lambda v, c: v % max(len(c.train.devices), 1) == 0,
        "must be a multiple of the number of train.devices",
    ),
    (
        "train.devices",
        lambda v, _: len(set(v)) == len(v) and all(re.fullmatch(r"(cpu|gpu):\d+", d.lower()) for d in v),
        "must be different devices such as gpu:0 or cpu:1",
    ),
    ("train.devices", lambda v, _: len({d.lower().partition(":")[0] for d in v}) <= 1, "must be all CPUs or all GPUs"),
    ("train.seed", lambda v, _: 0 <= v < 2**31, "must lie in 0..2147483647"),
    ("train.steps_per_call", _finite_positive, _POSITIVE),
    ("train.log_every", _finite_positive, _POSITIVE),
    ("train.checkpoint_every", _finite_positive, _POSITIVE),
    ("train.keep_checkpoints", _finite_positive, _POSITIVE),
    ("train.evaluate_every", _not_negative, _NOT_NEGATIVE),
    ("train.summary_images", _not_negative, _NOT_NEGATIVE),
    (
        "train.profile_steps",
        lambda v, _: not v or (len(v) == 2 and 1 <= v[0] <= v[1]),
        "must be [first, last] with steps from 1 on, or [] for none",
    ),
    ("train.explode_factor", lambda v, _: v == 0 or (math.isfinite(v) and v > 1), "must be above 1 (0 is off)"),
    ("decode.top_k", _finite_positive, _POSITIVE),
    ("decode.score_threshold", lambda v, _: 0 <= v < 1, "must lie in 0..1, 1 excluded"),
    ("export.max_pixels", _finite_positive, _POSITIVE),
)


def _schema():
    schema = OmegaConf.structured(Config)
    _make_writable(schema)
    return schema


def _make_writable(node):
    """Frozen dataclasses give read-only nodes; merging needs them open."""
    OmegaConf.set_readonly(node, False)
    if OmegaConf.is_dict(node):
        for key in node:
            if OmegaConf.is_config(node._get_node(key)):
                _make_writable(node._get_node(key))


def _read_with_base(path: Path) -> list[tuple[Path, dict]]:
    """[(file, content)] from the farthest base to the file itself."""
    chain: list[tuple[Path, dict]] = []
    file, role = path, ""
    while True:
        if any(file.resolve() == seen.resolve() for seen, _ in chain):
            raise UserError(f"{path}: base files form a circle at {file}")
        content = _read_yaml(file, role)
        base = content.pop("base", None)
        chain.insert(0, (file, content))
        if base is None:
            return chain
        if not isinstance(base, str):
            raise UserError(f"{file}: base={base} must be the name of one YAML file")
        file, role = file.parent / base, f" (base of {file})"


def _read_yaml(path: Path, role: str) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}{role}: cannot be read ({error.strerror}); name a YAML file such as configs/demo.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({_yaml_fault(error)})") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold sections such as 'model:', found {type(content).__name__}")
    return content


def _merge(schema, content: Any, source: str):
    _refuse_unknown_keys(content, Config, "", source)
    try:
        return OmegaConf.merge(schema, content)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        where = f"{source}: {key}: " if key else f"{source}: "
        raise UserError(f"{where}{_first_line(error)}") from None


def _refuse_unknown_keys(content: dict, section: type, prefix: str, source: str) -> None:
    fields = {f.name: f.type for f in dataclasses.fields(section)}
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if key not in fields:
            nearest = difflib.get_close_matches(dotted, list(_all_keys(Config)), n=1, cutoff=0.0)[0]
            raise UserError(f"{source}: unknown key '{dotted}'; did you mean '{nearest}'?")
        inner = fields[key]
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            if not isinstance(value, dict):
                example = f"{dotted}.{dataclasses.fields(inner)[0].name}"
                raise UserError(f"{source}: {dotted}={value} must be a section with keys, e.g. {example}")
            _refuse_unknown_keys(value, inner, f"{dotted}.", source)


def _all_keys(section: type, prefix: str = ""):
    for entry in dataclasses.fields(section):
        yield f"{prefix}{entry.name}"
        if isinstance(entry.type, type) and dataclasses.is_dataclass(entry.type):
            yield from _all_keys(entry.type, f"{prefix}{entry.name}.")


def _yaml_fault(error: Exception) -> str:
    """Without the excerpt of the file, which takes several lines."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("full_key:")[0].split())
