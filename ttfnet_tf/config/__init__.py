"""Settings: typed, inherited, overridable, checked before TensorFlow is imported.

A configuration is a YAML file that may name one `base:` file and lists what differs from it; `key=value` overrides come last. The result
is a tree of frozen dataclasses.

    schema    every setting with its default and meaning
    forms     settings that may be written in several ways, brought into one
    rules     which values, and which combinations, are refused
    doubts    what is allowed but can hardly work
    load      from files and overrides to a checked `Config`, and back to YAML

Settings stop at `ttfnet_tf/build.py` and the training loop: everything below takes arguments with names and defaults.
"""

from ttfnet_tf.config.doubts import doubts
from ttfnet_tf.config.load import config_of, dump_config, load_config, load_stored
from ttfnet_tf.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    DecodeConfig,
    ExportConfig,
    HeadConfig,
    LossesConfig,
    ModelConfig,
    OptimConfig,
    SetConfig,
    Setting,
    SplitConfig,
    TargetsConfig,
    TrainConfig,
    effective_lr,
    list_settings,
    value_of,
)

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DecodeConfig",
    "ExportConfig",
    "HeadConfig",
    "LossesConfig",
    "ModelConfig",
    "OptimConfig",
    "SetConfig",
    "Setting",
    "SplitConfig",
    "TargetsConfig",
    "TrainConfig",
    "config_of",
    "doubts",
    "dump_config",
    "effective_lr",
    "list_settings",
    "load_config",
    "load_stored",
    "value_of",
]
