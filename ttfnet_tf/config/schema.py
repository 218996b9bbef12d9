"""Every setting: its name, type, default and meaning. `docs/settings.md` is made from this file.

A meaning says unit and source where there is one; "reference" is the official code of TTFNet. This is one table, and longer than
other files for that.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union, get_args, get_origin

from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.models.backbones import BACKBONES


def setting(default: Any, meaning: str, *, choices: Collection[str] = (), has_auto: bool = False) -> Any:
    """A field of a section.

    Args:
        default: value, or a function that makes one where it can be changed.
        meaning: one line for the reader of a configuration.
        choices: names that are allowed, where the type does not say so; looked up when a value is checked.
        has_auto: whether a number may be written as `auto`, which is `AUTO`.
    """
    metadata = {"meaning": meaning, "choices": choices, "has_auto": has_auto}
    return field(default_factory=default, metadata=metadata) if callable(default) else field(default=default, metadata=metadata)


def _values(*values: Any) -> Callable[[], list]:
    """The default of a list."""
    return lambda: list(values)


AUTO = -1  # a number that is written as `auto`
# Names of files and folders, in which ~ is the home directory.
PATHS = frozenset(
    {"data.train.annotations", "data.train.images", "data.val.annotations", "data.val.images", "model.pretrained", "train.teacher"}
)


@dataclass(frozen=True)
class SetConfig:
    """One annotation file of several."""

    annotations: str = setting("", "COCO instances JSON")
    images: str = setting("", "folder that the file names in it are relative to")
    repeat: int = setting(1, "times that an epoch shows each of its images")


@dataclass(frozen=True)
class SplitConfig:
    """Annotated images in COCO format: one annotation file, or several."""

    annotations: str = setting("", "COCO instances JSON")
    images: str = setting("", "folder that the file names in it are relative to")
    sets: list[SetConfig] = setting(
        _values(),
        "several files as one set, written as a list in place of these keys: `[{annotations: a.json, images: A}, {annotations: b.json, "
        "images: B, repeat: 3}]`; an epoch shows the images of b three times (docs/own_data.md)",
    )

    @property
    def files(self) -> list[SetConfig]:
        """Every annotation file with the folder of its images; empty where none is named."""
        if self.sets:
            return self.sets
        return [SetConfig(self.annotations, self.images)] if self.annotations else []


@dataclass(frozen=True)
class DataConfig:
    """Images and annotations. `crowd`, `min_box_size`, `min_image_size`, `empty_images` and `class_balance` concern training only."""

    train: SplitConfig = field(default_factory=SplitConfig)
    val: SplitConfig = field(default_factory=SplitConfig)
    classes: list[str] = setting(
        _values(),
        "classes to use, all if empty: `[person, car]`, or merged and renamed `{vehicle: [car, truck], person: person}`, also written as "
        "`[vehicle=car, vehicle=truck, person]`; objects of other classes are background (docs/own_data.md)",
    )
    image_size: list[int] = setting(_values(512, 512), "[height, width] of the input in px, multiples of 32")
    resize: Literal["stretch", "letterbox"] = setting(
        "stretch",
        "how images get that size: `stretch` as the reference does, or `letterbox`, which keeps their ratio and fills the rest, right or "
        "below, with the mean colour",
    )
    tile: int = setting(
        0,
        "px of the original image; larger images are trained and evaluated in overlapping tiles of this side, each of which is a sample "
        "of the epoch; 0 is off (docs/image_sizes.md)",
    )
    tile_overlap: float = setting(0.2, "of neighbouring tiles, at least, as a fraction of their side, up to 0.5")
    crowd: Literal["background", "object"] = setting(
        "background", "boxes with iscrowd=1: `background` drops them, as the reference does; `object` trains on them"
    )
    min_box_size: float = setting(1.0, "px of the original image; boxes with a shorter side are dropped (reference: 1)")
    min_image_size: int = setting(32, "px; images with a shorter side are dropped (reference: 32)")
    empty_images: Literal["drop", "keep"] = setting(
        "drop", "images, and tiles, without a usable box: `drop` as the reference does, or `keep` as background"
    )
    broken_images: Literal["raise", "skip"] = setting(
        "raise", "an image that cannot be read: `raise` stops, `skip` counts it and takes the next"
    )
    workers: int = setting(0, "images processed at a time; 0 is one for each processor core")
    cache: Literal["none", "ram", "disk"] = setting(
        "none", "keeps decoded and resized images for later epochs, in memory or in a file of the user's cache folder"
    )
    class_balance: float = setting(
        0.0, "images with classes that fewer than this fraction of the images have are seen more often (LVIS: 0.001); 0 is off"
    )
    service: str = setting("", "`grpc://host:port` of a tf.data service that makes the training batches from a packed folder")

    @property
    def size(self) -> tuple[int, int]:
        """`image_size` as a pair: height and width of the input in pixels."""
        height, width = self.image_size
        return height, width

    @property
    def keep_ratio(self) -> bool:
        """Whether the resize keeps the ratio of images."""
        return self.resize == "letterbox"


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training images."""

    flip: float = setting(0.5, "probability of a horizontal flip")
    photometric: bool = setting(False, "brightness, contrast, saturation, hue and order of channels (10x recipes)")
    expand: float = setting(0.0, "probability of a mean-coloured canvas of up to 4 x 4 the image's size (10x recipes: 0.5)")
    min_iou_crop: bool = setting(False, "a crop in which every box keeps a random least overlap (10x recipes)")
    affine: bool = setting(False, "random scale and shift (CenterNet)")
    lighting: bool = setting(False, "colour jitter, and noise along the principal colours of ImageNet (CenterNet)")
    vertical_flip: float = setting(0.0, "probability of a vertical flip, for images without an upright")
    quarter_turns: float = setting(0.0, "probability of a turn by 90, 180 or 270 degrees, for images without an upright")
    mosaic: float = setting(0.0, "probability of four training images in one (docs/augmentation.md)")
    mixup: float = setting(0.0, "probability of a blend with another training image (docs/augmentation.md)")
    close: float = setting(
        0.1, "fraction of `train.epochs`, the last ones, without mosaic and mixup; rounded up to whole epochs (docs/augmentation.md)"
    )


@dataclass(frozen=True)
class HeadConfig:
    """Size of one head of the network."""

    width: int = setting(128, "channels of each 3x3 convolution")
    depth: int = setting(2, "number of 3x3 convolutions before the last 1x1")


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: str = setting("resnet18", "network that makes the feature maps", choices=BACKBONES)
    method: str = setting("ttfnet", "heads, targets, losses and decoding; `centernet` is the paper's baseline", choices=METHODS)
    pretrained: Optional[str] = setting(
        None, "weights to start from: a file, a run or exported SavedModel of your own, `timm/<name>`, or a preset of keras-cv"
    )
    pretrained_classes: list[str] = setting(
        _values(), "of a run or SavedModel whose classes have other names: [lorry=truck] takes the rows of its truck for lorry"
    )
    frozen_stages: int = setting(1, "-1 none, 0 the stem, n the stem and stages 1..n (reference: 1, from scratch: -1)")
    zero_init_residual: bool = setting(True, "the last BN scale of each residual branch starts at 0 (reference; false from scratch)")
    batch_norm: Literal["local", "synchronized"] = setting("local", "statistics of each replica (`local`) or over all (`synchronized`)")
    neck: Literal["deformable", "plain"] = setting("deformable", "`plain` has ordinary 3x3 convolutions in place of deformable ones")
    sampler: Literal["auto", "crop_and_resize", "gather"] = setting(
        "auto",
        "form of the deformable convolution, equal up to rounding: `crop_and_resize` is the fastest on a CPU; `gather` suits GPUs, and is "
        "needed for `train.jit_compile` and `train.deterministic`; `auto` chooses",
    )
    neck_channels: list[int] = setting(_values(256, 128, 64), "channels after each x2 upsampling of the neck")
    shortcut: list[int] = setting(_values(3, 2, 1), "3x3 convolutions from stages 2, 3 and 4 into the neck; 0 is no shortcut")
    upsampling: Literal["bilinear", "transposed"] = setting(
        "bilinear", "of the neck; `transposed` learns it by 4x4 convolutions (CenterNet)"
    )
    heatmap_head: HeadConfig = field(default_factory=HeadConfig)
    box_head: HeadConfig = field(default_factory=lambda: HeadConfig(width=64, depth=1))
    box_per_class: bool = setting(False, 'one box for each class and cell (paper, Table 2 "class-aware")')
    box_gradient: Literal["relu", "recover"] = setting(
        "relu", "of the box head's last ReLU; `recover` also passes it below 0 where it makes the box larger, so that no side dies"
    )


@dataclass(frozen=True)
class TargetsConfig:
    """What the network is trained to give."""

    alpha: float = setting(0.54, "size of the heatmap's kernel relative to the box")
    beta: float = setting(0.54, "size of the area that regresses the box, relative to the box")
    area: Literal["gaussian", "rectangle"] = setting(
        "gaussian", "`gaussian` weighs the cells of that area by a kernel, `rectangle` equally"
    )
    weight: Literal["none", "norm", "sqrt", "log", "equal"] = setting(
        "log",
        "sum of the weights of a box of area a: `none` a, `norm` 1, `sqrt`, `log`; `equal` leaves the weights of the area's form",
    )
    kernel: Literal["aspect", "cornernet"] = setting("aspect", "kernels follow the sides of the box, or are CornerNet's square")
    backend: Literal["py_function", "graph", "device"] = setting(
        "device", "where targets are drawn: NumPy in tf.data, TensorFlow in tf.data (`graph`), inside the training step (`device`)"
    )


@dataclass(frozen=True)
class LossesConfig:
    """Factors of the losses, and what they are averaged over."""

    heatmap_weight: float = setting(1.0, "factor of the focal loss")
    box_weight: float = setting(5.0, "factor of the GIoU loss, or of CenterNet's L1 loss of width and height (its recipe: 0.1)")
    offset_weight: float = setting(1.0, "factor of CenterNet's L1 loss of the centre's place in its cell")
    quality: float = setting(
        0.0, "0..1, how much the IoU of the box predicted in an object's centre lowers the heatmap's target there (docs/losses.md)"
    )
    class_weights: list[float] = setting(
        _values(), "factor of the focal loss in the centres of each class, in the order of the category ids; empty is 1 for all"
    )
    teacher_heatmap_weight: float = setting(1.0, "factor of the loss to the heatmap of `train.teacher`")
    teacher_box_weight: float = setting(5.0, "factor of the loss to the boxes of `train.teacher`")
    normalizer: Literal["global", "replica"] = setting(
        "global", "sums are divided by counts of the whole batch (`global`) or of each replica (`replica`, the official arithmetic)"
    )


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning rate."""

    lr: float = setting(0.016, "peak learning rate for batches of `lr_batch_size`")
    accumulate: int = setting(
        1,
        "parts in which a batch is computed, one after the other: the same step with the memory of `train.batch_size` / parts images; only "
        "batch normalisation takes its statistics from each part",
    )
    lr_batch_size: int = setting(128, "images of the batch that `lr` is meant for")
    scale_lr: bool = setting(True, "another `train.batch_size` scales the learning rate linearly (Goyal et al. 2017)")
    name: Literal["sgd", "adam", "adamw", "lamb", "novograd", "radam", "sgdw"] = setting(
        "sgd", "`sgd` has the official rules, `adam` is Keras', the others are as in tensorflow-addons"
    )
    momentum: float = setting(0.9, "of `sgd` and `sgdw`; beta 1 of the others")
    weight_decay: float = setting(4e-4, "added to the gradient after clipping, as PyTorch does; `adamw` and `sgdw` decay the parameter")
    bias_lr_multiplier: float = setting(2.0, "of biases, by the name rule of the reference (docs/deviations.md)")
    bias_weight_decay: float = setting(0.0, "of biases, by the same rule")
    clip_norm: float = setting(35.0, "global L2 norm of the gradient; 0 is off")
    schedule: Literal["step", "cosine", "trapezoid"] = setting(
        "step",
        "`step` multiplies the rate at `drop_epochs`, `cosine` decreases it to 0, `trapezoid` keeps it and decreases it in the `cooldown`",
    )
    drop_epochs: list[float] = setting(_values(9.0, 11.0), "step: the rate is multiplied by `drop_factor` from each of these epochs on")
    drop_factor: float = setting(0.1, "see `drop_epochs`")
    cooldown: float = setting(0.3, "trapezoid: the last fraction of the steps, in which the rate decreases linearly to 0")
    cooldown_bends: list[float] = setting(
        _values(), "trapezoid: [step, fraction, ...] at which a run with `train.minutes` changed the slope of its cooldown"
    )
    warmup_steps: int = setting(500, "steps in which the rate rises linearly to its value")
    warmup_ratio: float = setting(0.2, "fraction of the rate at step 0")
    ema_decay: float = setting(0.0, "moving average of the weights, used for evaluation and export; 0 is off")


@dataclass(frozen=True)
class TrainConfig:
    """The training run."""

    epochs: int = setting(12, "passes over the training images")
    steps: int = setting(0, "steps of the run in place of `epochs`; 0 is off")
    minutes: float = setting(
        0.0, "time of the run, evaluations included: as many steps as it has room for, in place of `epochs` (docs/fit.md); 0 is off"
    )
    batch_size: int = setting(
        128, "images of a step, over all replicas; `auto` is the largest that fits on the GPUs, and 16 a replica on a CPU", has_auto=True
    )
    seed: int = setting(0, "of initial weights, order and augmentation")
    teacher: Optional[str] = setting(
        None, "run of the same classes whose heatmap and boxes this one learns too; one more forward pass a step (docs/losses.md)"
    )
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = setting(
        "auto", "arithmetic of training; evaluation is float32. `auto` is mixed_bfloat16 where the devices have it and are faster in it"
    )
    tf32: bool = setting(True, "GPUs since Ampere may round the factors of float32 products to TF32 (10 bits) in training")
    strategy: Literal["mirrored", "multi_worker"] = setting("mirrored", "one process, or one for each worker (docs/distributed.md)")
    devices: list[str] = setting(_values(), "e.g. [gpu:0, gpu:1] or [cpu:0, cpu:1]; empty is every GPU, else the CPU")
    jit_compile: bool = setting(False, "XLA compiles the step of each replica, for GPUs; on a CPU it is slower (docs/distributed.md)")
    deterministic: bool = setting(
        False, "deterministic operations only: two runs on the same machine end with the same bits on GPUs too; slower, and data_wait is 0"
    )
    steps_per_call: int = setting(1, "training steps in one call of the compiled function")
    log_every: int = setting(10, "steps between two lines of metrics.jsonl")
    checkpoint_every: int = setting(1, "epochs between two checkpoints")
    keep_checkpoints: int = setting(3, "the latest ones; the best by AP is kept beside them")
    evaluate_every: int = setting(1, "epochs between two evaluations; 0 is never, else the last epoch is always evaluated")
    patience: int = setting(0, "evaluations in a row without a better AP, after which the run ends early; 0 is off")
    evaluate_batch_size: int = setting(
        0, "images of each device in one call of an evaluation; 0 is 8 on a CPU, and on GPUs the largest of 64, 32, ... that fits"
    )
    summary_images: int = setting(4, "images of each kind in TensorBoard at each evaluation; 0 is none")
    log_to: Literal["none", "mlflow", "wandb"] = setting(
        "none", "sends settings, the curves of TensorBoard and the final AP to MLflow or Weights & Biases too (docs/tensorboard.md)"
    )
    profile_steps: list[int] = setting(_values(), "[first, last] steps, from 1, that TensorFlow's profiler records; empty is off")
    report: bool = setting(False, "write report.html into the work directory when training is done")
    on_divergence: Literal["stop", "skip", "rollback"] = setting(
        "stop", "when the loss or gradient is not finite, or the loss explodes: stop, skip the step, or return to the last checkpoint"
    )
    explode_factor: float = setting(20.0, "a loss above so many times its running mean explodes; 0 is off")


@dataclass(frozen=True)
class DecodeConfig:
    """From the network's maps to detections."""

    top_k: int = setting(100, "detections of an image at most; COCO's figures look at 100")
    score_threshold: float = setting(0.01, "evaluation keeps detections above it; `ttfnet predict` has its own")


@dataclass(frozen=True)
class ExportConfig:
    """Exported graphs."""

    max_pixels: int = setting(MAX_PIXELS, "height x width of the largest image file that an exported graph decodes")


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


@dataclass(frozen=True)
class Setting:
    """One setting as documents and checks see it."""

    key: str  # "optim.lr"
    type: Any
    default: Any
    meaning: str
    choices: tuple[str, ...]  # empty where any value of the type may be allowed


def list_settings() -> list[Setting]:
    """Every setting, in the order of this file."""
    return list(_settings_of(Config(), ""))


def _settings_of(section: Any, prefix: str) -> Iterator[Setting]:
    for one in dataclasses.fields(section):
        key, value = f"{prefix}{one.name}", getattr(section, one.name)
        if dataclasses.is_dataclass(value):
            yield from _settings_of(value, f"{key}.")
        else:
            choices = get_args(one.type) if get_origin(one.type) is Literal else one.metadata["choices"]
            yield Setting(key, one.type, value, one.metadata["meaning"], tuple(choices))


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted key, which may be that of a section."""
    value: Union[Config, Any] = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def with_value(section: Any, key: str, value: Any) -> Any:
    """A copy of a section, or of the whole, in which the setting of a dotted key has another value."""
    name, _, rest = key.partition(".")
    return dataclasses.replace(section, **{name: with_value(getattr(section, name), rest, value) if rest else value})


def closed_epochs(config: Config) -> int:
    """The last epochs of a run, those without mosaic and mixup: `augment.close` of all, rounded up."""
    return math.ceil(round(config.augment.close * config.train.epochs, 6))


def effective_lr(config: Config) -> float:
    """Peak learning rate for the configured batch: `optim.lr`, scaled linearly from `optim.lr_batch_size`."""
    scale = config.train.batch_size / config.optim.lr_batch_size if config.optim.scale_lr else 1.0
    return config.optim.lr * scale
