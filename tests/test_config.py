"""Every line that wrong settings give, and that right ones arrive unchanged."""

import dataclasses
import os

import pytest
import yaml

from ttfnet_tf.config import Config, config_of, doubts, dump_config, effective_lr, list_settings, load_config, load_stored, value_of
from ttfnet_tf.config.load import RENAMED
from ttfnet_tf.config.schema import closed_epochs
from ttfnet_tf.errors import UserError
from ttfnet_tf.recipes import recipes


def _message(path, *overrides):
    with pytest.raises(UserError) as error:
        load_config(path, overrides)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_an_empty_file_gives_the_defaults(write_yaml):
    assert load_config(write_yaml("a.yaml", "")) == Config()


def test_a_file_lists_what_differs_from_its_base_and_overrides_come_last(write_yaml):
    write_yaml("far.yaml", "optim: {lr: 0.1, momentum: 0.5, clip_norm: 1.0}\nmodel: {shortcut: [1, 1, 1]}")
    write_yaml("near.yaml", "base: far.yaml\noptim: {lr: 0.2, momentum: 0.6}")
    config = load_config(write_yaml("run.yaml", "base: near.yaml\noptim: {lr: 0.3}"), ["optim.weight_decay=0", "model.pretrained=x.npz"])
    assert (config.optim.lr, config.optim.momentum, config.optim.clip_norm) == (0.3, 0.6, 1.0)
    assert config.optim.weight_decay == 0.0
    assert config.model.shortcut == [1, 1, 1]  # lists are replaced, not mixed
    assert config.model.pretrained == "x.npz"


def test_a_base_is_looked_up_beside_the_file_that_names_it(write_yaml, tmp_path):
    (tmp_path / "inner").mkdir()
    write_yaml("base.yaml", "train: {seed: 4}")
    inner = tmp_path / "inner" / "run.yaml"
    inner.write_text("base: ../base.yaml")
    assert load_config(inner).train.seed == 4


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("data.image_size=[256, 320]", "image_size", [256, 320]),
        ("data.train.annotations=a=b.json", "train", "a=b.json"),  # only the first = parts key and value
    ],
)
def test_values_of_overrides_are_yaml(write_yaml, override, key, expected):
    value = getattr(load_config(write_yaml("a.yaml", ""), [override]).data, key)
    assert getattr(value, "annotations", value) == expected


def test_null_takes_a_base_value_away(write_yaml):
    write_yaml("base.yaml", "model: {pretrained: x.npz}")
    assert load_config(write_yaml("a.yaml", "base: base.yaml\nmodel: {pretrained: null}")).model.pretrained is None


def test_dumped_settings_load_to_the_same(write_yaml):
    config = load_config(write_yaml("a.yaml", "train: {epochs: 5, batch_size: 8}\noptim: {drop_epochs: [2.5]}"))
    text = dump_config(config)
    assert load_config(write_yaml("b.yaml", text)) == config
    assert text == dump_config(load_config(write_yaml("c.yaml", text)))


def test_settings_cannot_be_changed_after_loading(write_yaml):
    config = load_config(write_yaml("a.yaml", ""))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.seed = 1


@pytest.mark.parametrize(
    ("batch_size", "scale_lr", "expected"),
    [(128, "true", 0.016), (8, "true", 0.001), (256, "true", 0.032), (8, "false", 0.016)],
)
def test_learning_rate_follows_the_batch_size(write_yaml, batch_size, scale_lr, expected):
    config = load_config(write_yaml("a.yaml", ""), [f"train.batch_size={batch_size}", f"optim.scale_lr={scale_lr}"])
    assert effective_lr(config) == pytest.approx(expected, rel=1e-12)


def test_no_such_file(tmp_path):
    assert "missing.yaml: cannot be read (No such file or directory)" in _message(tmp_path / "missing.yaml")


def test_a_missing_base_is_named(write_yaml, tmp_path):
    assert f"{tmp_path / 'gone.yaml'} (base of {tmp_path / 'a.yaml'}): cannot be read" in _message(write_yaml("a.yaml", "base: gone.yaml"))


def test_a_circle_of_bases(write_yaml):
    write_yaml("b.yaml", "base: a.yaml")
    assert "base files form a circle" in _message(write_yaml("a.yaml", "base: b.yaml"))


def test_a_file_that_is_its_own_base(write_yaml):
    assert "base files form a circle" in _message(write_yaml("a.yaml", "base: a.yaml"))


WRONG_FILES = [
    ("model: [", "is not YAML"),
    ("- a\n- b", "must hold sections such as 'model:', found list"),
    ("base: [a.yaml, b.yaml]", "must be the name of one YAML file"),
    ("optm: {lr: 0.1}", "unknown key 'optm'; did you mean 'optim'?"),
    ("optim: {lrr: 0.1}", "unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
    ("model: {backbonne: resnet18}", "unknown key 'model.backbonne'; did you mean 'model.backbone'?"),
    ("data: {train: {anotations: a.json}}", "unknown key 'data.train.anotations'; did you mean 'data.train.annotations'?"),
    ("model: resnet18", "model=resnet18 must be a section with keys, e.g. model.backbone"),
    ("data: {train: a.json}", "data.train=a.json must be a section with keys, e.g. data.train.annotations"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_FILES)
def test_wrong_files(write_yaml, text, expected):
    line = _message(write_yaml("wrong.yaml", text))
    assert "wrong.yaml" in line
    assert expected in line


# Each of these names its key; the words after it say what would be right.
WRONG_VALUES = [
    ("optim.lr", "must have the form key=value"),
    ("=3", "must have the form key=value"),
    ("optim.lr=[", "override 'optim.lr=['"),
    ("train.epoch=3", "did you mean 'train.epochs'?"),
    ("lr=0.1", "unknown key 'lr'; did you mean"),
    ("optim.lr.value=3", "optim.lr"),
    ("optim.lr=fast", "optim.lr=fast must be a number, such as 0.016"),
    ("train.epochs=2.5", "train.epochs"),
    ("train.epochs=null", "train.epochs"),
    ("optim.scale_lr=perhaps", "optim.scale_lr"),
    ("model.backbone=resnet50", "model.backbone"),
    ("model.neck=deform", "model.neck"),
    ("targets.backend=gpu", "targets.backend"),
    ("data.image_size=512", "data.image_size"),
    ("data.image_size=[512, 500]", "both multiples of 32"),
    ("data.image_size=[512]", "must be [height, width]"),
    ("data.image_size=[0, 512]", "must be [height, width]"),
    ("data.min_box_size=-1", "must be 0 or more"),
    ("augment.flip=1.5", "must lie in 0..1"),
    ("data.class_balance=-1", "must lie in 0..1"),
    ("data.tile=31", "must be 32 px or more (0 is off)"),
    ("data.tile=-512", "must be 32 px or more (0 is off)"),
    ("data.tile_overlap=0.3", "data.tile_overlap=0.3 has no effect with data.tile=0"),
    *((f"augment.{name}=1.01", "must lie in 0..1") for name in ("vertical_flip", "quarter_turns", "mosaic", "mixup")),
    ("augment.mosaic=-0.1", "must lie in 0..1"),
    ("model.frozen_stages=6", "must lie in -1..5"),
    ("model.shortcut=[3, 2]", "must be three numbers of layers"),
    ("model.neck_channels=[256, 128]", "must be three channel counts"),
    ("train.jit_compile=1.5", "train.jit_compile"),
    ("model.box_head.width=0", "must be above 0"),
    ("targets.alpha=0", "must be above 0"),
    ("targets.beta=.nan", "must be above 0"),
    ("losses.box_weight=-1", "must be 0 or more"),
    ("losses.quality=1.5", "must lie in 0..1"),
    ("losses.class_weights=[1, -1]", "must be numbers of 0 or more"),
    ("losses.class_weights=[.nan]", "must be numbers of 0 or more"),
    ("losses.class_weights=2", "must be a list"),
    ("optim.lr=0", "must be above 0"),
    ("optim.lr=.inf", "must be above 0"),
    ("optim.momentum=1", "must lie in 0..1, 1 excluded"),
    ("optim.drop_epochs=[11, 9]", "must be ascending epochs"),
    ("optim.drop_epochs=[9, 12]", "must all lie before the last of train.epochs"),
    ("optim.warmup_ratio=2", "must lie in 0..1"),
    ("optim.ema_decay=1", "must lie in 0..1, 1 excluded"),
    ("train.batch_size=0", "must be above 0"),
    ("train.devices=[tpu:0]", "must be different devices such as gpu:0"),
    ("train.devices=[gpu:0, gpu:0]", "must be different devices"),
    ("train.devices=[cpu:99999999999999999999]", "must be different devices such as gpu:0"),
    ("train.devices=[gpu:0, cpu:0]", "must be all CPUs or all GPUs"),
    ("train.devices=[gpu:0, gpu:1, gpu:2]", "must be a multiple of the number of train.devices"),
    ("train.seed=-1", "must lie in 0..2147483647"),
    ("train.precision=float64", "train.precision"),
    ("train.keep_checkpoints=0", "must be above 0"),
    ("train.profile_steps=[20]", "must be [first, last]"),
    ("train.profile_steps=[20, 10]", "must be [first, last]"),
    ("train.profile_steps=[0, 10]", "must be [first, last]"),
    ("train.on_divergence=ignore", "train.on_divergence"),
    ("train.explode_factor=1", "must be above 1 (0 is off)"),
    ("train.explode_factor=.inf", "must be above 1 (0 is off)"),
    ("decode.top_k=0", "must be above 0"),
    ("decode.score_threshold=1", "must lie in 0..1, 1 excluded"),
]


WRONG_TOGETHER = [
    ("data: {tile: 64, tile_overlap: 0.51}", "data.tile_overlap=0.51 must lie in 0..0.5"),
    ("data: {tile: 64, tile_overlap: .nan}", "data.tile_overlap=nan must lie in 0..0.5"),
    (
        "augment: {mosaic: 1}, train: {steps: 5}",
        "augment.mosaic=1.0 ends with the cooldown in a run of train.steps; set optim.schedule=trapezoid, or train.epochs",
    ),
    (
        "data: {class_balance: 0.1, service: 'grpc://host:5000'}",
        "data.class_balance=0.1 is not possible with data.service; set one of them back",
    ),
    (
        "train: {jit_compile: true}, model: {sampler: crop_and_resize}",
        "model.sampler=crop_and_resize cannot be compiled; leave model.sampl",
    ),
    (
        "train: {deterministic: true}, model: {sampler: crop_and_resize}",
        "model.sampler=crop_and_resize is not deterministic on a GPU; leav",
    ),
    (
        "train: {jit_compile: true}, model: {batch_norm: synchronized}",
        "model.batch_norm=synchronized adds up over replicas inside the netw",
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_TOGETHER)
def test_what_cannot_be_compiled_or_repeated_is_refused(write_yaml, text, expected):
    assert expected in _message(write_yaml("a.yaml", f"{{{text}}}"))


@pytest.mark.parametrize(("override", "expected"), WRONG_VALUES)
def test_wrong_values(write_yaml, override, expected):
    line = _message(write_yaml("a.yaml", ""), override)
    assert expected in line
    assert override.partition("=")[0] in line


def test_a_rectangle_must_stay_inside_its_box(write_yaml):
    path = write_yaml("a.yaml", "targets: {area: rectangle, beta: 1.2}")
    assert "targets.beta=1.2 must be at most 1 with targets.area=rectangle" in _message(path)
    assert load_config(path, ["targets.area=gaussian"]).targets.beta == 1.2


# Settings in one file, and the line about the one that nothing reads.
UNREAD = [
    ("model: {method: centernet}\ntargets: {alpha: 0.3}", "targets.alpha=0.3 has no effect with model.method=centernet"),
    ("model: {method: centernet}\ntargets: {beta: 0.3}", "targets.beta=0.3 has no effect with model.method=centernet"),
    ("model: {method: centernet}\ntargets: {area: rectangle}", "targets.area=rectangle has no effect with model.method=centernet"),
    ("model: {method: centernet}\ntargets: {weight: norm}", "targets.weight=norm has no effect with model.method=centernet"),
    ("model: {method: centernet}\ntargets: {kernel: cornernet}", "targets.kernel=cornernet has no effect with model.method=centernet"),
    ("augment: {close: 0.5}", "augment.close=0.5 has no effect with augment.mosaic=0.0"),
    ("model: {method: centernet}\nlosses: {quality: 1.0}", "losses.quality=1.0 has no effect with model.method=centernet"),
    ("losses: {teacher_box_weight: 2.0}", "losses.teacher_box_weight=2.0 has no effect with train.teacher=None"),
    ("losses: {offset_weight: 2.0}", "losses.offset_weight=2.0 has no effect with model.method=ttfnet"),
    ("model: {backbone: dla34, neck_channels: [64, 32, 16]}", "model.neck_channels=[64, 32, 16] has no effect with model.backbone=dla34"),
    ("model: {backbone: dla34, shortcut: [0, 0, 0]}", "model.shortcut=[0, 0, 0] has no effect with model.backbone=dla34"),
    ("model: {backbone: dla34, upsampling: transposed}", "model.upsampling=transposed has no effect with model.backbone=dla34"),
    (
        "model: {backbone: darknet53, zero_init_residual: false}",
        "model.zero_init_residual=false has no effect with model.backbone=darknet53",
    ),
    (
        "model: {backbone: keras_cv/resnet50, zero_init_residual: false}",
        "model.zero_init_residual=false has no effect with model.backbone=keras_cv/resnet50",
    ),
    ("model: {neck: plain, sampler: gather}", "model.sampler=gather has no effect with model.neck=plain"),
    (
        "model: {heatmap_head: {width: 64, depth: 0}}",
        "model.heatmap_head.width=64 has no effect with model.heatmap_head.depth=0",
    ),
    ("model: {box_head: {width: 32, depth: 0}}", "model.box_head.width=32 has no effect with model.box_head.depth=0"),
    ("optim: {scale_lr: false, lr_batch_size: 8}", "optim.lr_batch_size=8 has no effect with optim.scale_lr=false"),
    ("optim: {schedule: cosine, drop_epochs: [5]}", "optim.drop_epochs=[5.0] has no effect with optim.schedule=cosine"),
    ("optim: {schedule: cosine, drop_factor: 0.5}", "optim.drop_factor=0.5 has no effect with optim.schedule=cosine"),
    ("optim: {drop_epochs: [], drop_factor: 0.5}", "optim.drop_factor=0.5 has no effect with optim.drop_epochs=[]"),
    ("optim: {warmup_steps: 0, warmup_ratio: 0.1}", "optim.warmup_ratio=0.1 has no effect with optim.warmup_steps=0"),
    (
        "train: {strategy: multi_worker, devices: [gpu:0]}",
        "train.devices=['gpu:0'] has no effect with train.strategy=multi_worker",
    ),
    ("train: {evaluate_every: 0, evaluate_batch_size: 2}", "train.evaluate_batch_size=2 has no effect with train.evaluate_every=0"),
    ("train: {evaluate_every: 0, summary_images: 2}", "train.summary_images=2 has no effect with train.evaluate_every=0"),
]


@pytest.mark.parametrize(("text", "expected"), UNREAD, ids=[expected.partition("=")[0] for _, expected in UNREAD])
def test_a_setting_that_nothing_reads_is_refused_where_it_is_set(write_yaml, text, expected):
    path = write_yaml("a.yaml", text)
    assert _message(path) == f"{path}: {expected}; remove it"
    # The same from a base file is that recipe's: the choice of a later file wins.
    inner, switch = (part.partition("=")[0] for part in expected.split(" has no effect with "))
    chosen = value_of(config_of(yaml.safe_load(text), source="a.yaml"), switch)
    write_yaml("recipe.yaml", _tree(inner, _value(text, inner)))
    config = load_config(write_yaml("b.yaml", f"base: recipe.yaml\n{_tree(switch, chosen)}"))
    assert value_of(config, inner) == value_of(Config(), inner)
    assert load_config(write_yaml("dumped.yaml", dump_config(config))) == config


def _tree(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return yaml.safe_dump(value)


def _value(text, key):
    tree = yaml.safe_load(text)
    for part in key.split("."):
        tree = tree[part]
    return tree


def test_overrides_are_later_than_every_file(write_yaml):
    path = write_yaml("a.yaml", "optim: {drop_epochs: [5]}\nmodel: {backbone: dla34}")
    assert load_config(path, ["optim.schedule=cosine"]).optim.drop_epochs == Config().optim.drop_epochs
    override = "model.shortcut=[0, 0, 0]"
    assert _message(path, override) == f"override '{override}': {override} has no effect with model.backbone=dla34; remove it"
    # Among overrides there is no order.
    for overrides in (("optim.schedule=cosine", "optim.drop_factor=0.5"), ("optim.drop_factor=0.5", "optim.schedule=cosine")):
        assert "override 'optim.drop_factor=0.5': optim.drop_factor=0.5 has no effect" in _message(path, *overrides)


def test_a_setting_that_nothing_reads_may_say_its_default(write_yaml):
    text = "model: {method: centernet}\ntargets: {alpha: 0.54, area: gaussian}\nlosses: {offset_weight: 0.5}"
    assert load_config(write_yaml("a.yaml", text)).losses.offset_weight == 0.5


def test_what_is_off_both_ways_is_no_contradiction(write_yaml):
    config = load_config(write_yaml("a.yaml", "optim: {schedule: cosine, drop_epochs: []}\ntrain: {evaluate_every: 0, summary_images: 0}"))
    assert (config.optim.drop_epochs, config.train.summary_images) == ([], 0)


def test_synchronized_normalisation_needs_a_backbone_that_has_it(write_yaml):
    line = _message(write_yaml("a.yaml", "model: {backbone: keras_cv/resnet50, batch_norm: synchronized}"))
    assert "model.batch_norm=synchronized is not possible with this model.backbone" in line


def test_names_of_backbones_and_methods_are_offered(write_yaml):
    line = _message(write_yaml("a.yaml", "model: {backbone: resnet-18}"))
    assert "model.backbone=resnet-18 must be one of resnet18, resnet34, darknet53" in line
    assert line.endswith("did you mean 'resnet18'?")
    assert "model.method=centrenet must be one of ttfnet, centernet; did you mean 'centernet'?" in _message(
        write_yaml("b.yaml", "model: {method: centrenet}")
    )


# What a run of version 0.1.0 has in its config.yaml and its model card.
STORED = {
    "data": {"broken_pictures": "skip", "image_size": [64, 64]},
    "model": {"head": "centernet", "backbone": "darknet53", "zero_init_residual": False},
    "targets": {"beta": 0.3},
    "train": {"summary_pictures": 2},
}


def test_stored_files_of_earlier_versions_load(write_yaml):
    path = write_yaml("config.yaml", yaml.safe_dump(STORED))
    config = load_stored(path)
    assert (config.data.broken_images, config.train.summary_images, config.model.method) == ("skip", 2, "centernet")
    assert config == config_of(STORED, source="card")
    # What nothing reads is no fault of the run.
    assert (config.model.zero_init_residual, config.targets.beta) == (True, 0.54)
    assert load_stored(write_yaml("new.yaml", dump_config(config))) == config
    # What is set on top of it is.
    with pytest.raises(UserError, match=r"^override 'targets.beta=0.2': targets.beta=0.2 has no effect with model.method=centernet"):
        load_stored(path, ["targets.beta=0.2"])


def test_stored_files_are_checked_otherwise(write_yaml):
    with pytest.raises(UserError, match=r"c.yaml: unknown key 'model.haed'; did you mean"):
        load_stored(write_yaml("c.yaml", "model: {haed: ttfnet}"))
    with pytest.raises(UserError, match=r"c.yaml: train.batch_size=0 must be above 0"):
        load_stored(write_yaml("c.yaml", "train: {batch_size: 0}"))


@pytest.mark.parametrize("old", RENAMED)
def test_old_names_in_files_of_users_name_the_new_ones(write_yaml, old):
    path = write_yaml("a.yaml", _tree(old, "skip"))
    assert _message(path) == f"{path}: {old} is called {RENAMED[old]} now"
    override = f"{old}=skip"
    assert _message(write_yaml("b.yaml", ""), override) == f"override '{override}': {old} is called {RENAMED[old]} now"


def test_renamed_settings_stay_in_their_section_and_exist():
    keys = {setting.key for setting in list_settings()}
    for old, new in RENAMED.items():
        assert new in keys
        assert old not in keys
        assert old.rpartition(".")[0] == new.rpartition(".")[0]


@pytest.mark.parametrize(("close", "epochs", "closed"), [(0.1, 12, 2), (0.1, 10, 1), (0.3, 10, 3), (0.07, 100, 7), (0, 10, 0), (1, 10, 10)])
def test_the_closed_epochs_are_rounded_up(close, epochs, closed):
    """Also where the product is not exact: .07 x 100 is 7.000000000000001."""
    overrides = ["augment.mosaic=1", f"augment.close={close}", f"train.epochs={epochs}", "optim.schedule=cosine"]
    assert closed_epochs(load_config(os.devnull, overrides)) == closed


def test_every_setting_has_a_meaning_of_one_line():
    for setting in list_settings():
        assert setting.meaning, setting.key
        assert "\n" not in setting.meaning
        assert not setting.meaning.endswith("."), setting.key
        assert not setting.choices or setting.default in setting.choices


# Settings over those of a run of 12 epochs, steps, replicas, line.
DOUBTS = [
    ("optim: {warmup_steps: 500}", 501, 1, None),
    (
        "optim: {warmup_steps: 500, lr: 0.01, scale_lr: false}",
        250,
        1,
        "optim.warmup_steps=500, but the run has 250 steps: the learning rate gets to 0.006 and never to 0.01; lower optim.warmup_steps",
    ),
    ("model: {frozen_stages: 1, pretrained: a.npz}", 1, 1, None),
    ("model: {frozen_stages: 0}", 1, 1, "model.frozen_stages=0 freezes random weights; set model.pretrained, or model.frozen_stages=-1"),
    ("augment: {mixup: 0.1}\ntrain: {epochs: 2}", 501, 1, None),
    (
        "augment: {mixup: 0.1}\ntrain: {epochs: 1}",
        501,
        1,
        "augment.close=0.1 of train.epochs=1 is rounded up to all of them: no image is mixed; lower augment.close",
    ),
    ("optim: {drop_epochs: [6], warmup_steps: 60}", 120, 1, None),
    (
        "optim: {drop_epochs: [6], warmup_steps: 61, scale_lr: false}",
        120,
        1,
        "optim.drop_epochs=[6.0] lowers the learning rate at step 60, before the warm-up ends at 61, so it never gets to 0.016; "
        "lower optim.warmup_steps",
    ),
    (
        "optim: {drop_epochs: [6], drop_factor: 0}",
        120,
        1,
        "optim.drop_factor=0 makes the learning rate 0 from epoch 6 on, where learning ends; raise it",
    ),
    ("optim: {drop_epochs: [6], drop_factor: 1}", 120, 1, "optim.drop_factor=1 leaves the learning rate as it is at every drop; lower it"),
    ("train: {batch_size: 2}", 120, 1, None),
    ("train: {batch_size: auto}", 120, 1, None),
    ("train: {batch_size: 2}\nmodel: {batch_norm: synchronized}", 120, 2, None),
    (
        "train: {batch_size: 1}",
        120,
        1,
        "train.batch_size=1 is one image a replica, whose statistics alone normalise it, unlike in evaluation; raise train.batch_size",
    ),
    (
        "train: {batch_size: 2}",
        120,
        2,
        "train.batch_size=2 is one image a replica, whose statistics alone normalise it, unlike in evaluation; raise train.batch_size, "
        "or set model.batch_norm=synchronized",
    ),
    ("train: {batch_size: 8}\noptim: {accumulate: 4}", 120, 1, None),
    (
        "train: {batch_size: 8}\noptim: {accumulate: 4}",
        120,
        2,
        "optim.accumulate=4 takes one image at a time, whose statistics alone normalise it, unlike in evaluation; lower optim.accumulate",
    ),
    ("train: {patience: 3, evaluate_every: 3}", 120, 1, None),
    (
        "train: {patience: 4, evaluate_every: 3}",
        120,
        1,
        "train.patience=4, but the run has 4 evaluations: it never stops early; lower train.patience",
    ),
    ("train: {profile_steps: [120, 130]}", 120, 1, None),
    (
        "train: {profile_steps: [121, 130]}",
        120,
        1,
        "train.profile_steps=[121, 130] lie after the last step, 120: nothing is recorded; name earlier ones",
    ),
    ("losses: {box_weight: 0}", 120, 1, "losses.box_weight=0: that head is never trained; raise it"),
    ("decode: {score_threshold: 0.1}", 120, 1, None),
    (
        "decode: {score_threshold: 0.3}",
        120,
        1,
        "decode.score_threshold=0.3 is that of evaluation too: AP lacks every detection below it; leave it at 0.01",
    ),
]


@pytest.mark.parametrize(("settings", "steps", "replicas", "line"), DOUBTS)
def test_settings_that_are_hardly_meant(write_yaml, settings, steps, replicas, line):
    write_yaml("base.yaml", "optim: {warmup_steps: 0, drop_epochs: []}\nmodel: {frozen_stages: -1}")
    config = load_config(write_yaml("a.yaml", f"base: base.yaml\n{settings}"))
    assert doubts(config, steps, replicas) == ([] if line is None else [line])


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_recipes_have_no_doubts_with_the_weights_that_they_name(recipe):
    config = load_config(recipe, ["model.pretrained=a.npz"])
    assert doubts(config, 10_000 * config.train.epochs) == []
