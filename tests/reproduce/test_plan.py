"""From cells to runs: settings, folders, commands, and the effect of a scale."""

import shlex

import pytest

from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.reproduce.cells import select
from ttfnet_tf.reproduce.plan import check_data, data_folder, plan, scaled_settings


def test_runs_have_their_settings_folders_and_commands(table, tmp_path):
    runs = plan(table, table.cells[:2], out=tmp_path / "out", seeds=2, overrides=["optim.lr=0.5"])
    assert [(run.cell.name, run.seed) for run in runs] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    last = runs[-1]
    assert last.folder == tmp_path / "out/t/b/seed1"
    assert last.settings == ("targets.beta=0.1", "optim.lr=0.5", "train.seed=1")
    assert (last.config.targets.beta, last.config.optim.lr, last.config.train.seed) == (0.1, 0.5, 1)
    words = shlex.split(last.command)
    assert words[:2] == ["ttfnet", "train"]
    assert words[3:] == ["--work-dir", str(last.folder), *last.settings]
    # The command by hand is the same run.
    assert load_config(words[2], words[5:]) == last.config


def test_seeds_and_keys_in_which_cells_differ_cannot_be_overridden(table, tmp_path):
    with pytest.raises(UserError, match=r"^targets.beta is what the cells of t differ in"):
        plan(table, table.cells, out=tmp_path, overrides=["targets.beta=0.3"])
    assert plan(table, table.cells[:1], out=tmp_path, overrides=["targets.beta=0.3"])[0].config.targets.beta == 0.3
    with pytest.raises(UserError, match=r"^train.seed is set by --seeds N"):
        plan(table, table.cells, out=tmp_path, overrides=["train.seed=3"])
    with pytest.raises(UserError, match="--seeds 0 must be 1 or more"):
        plan(table, table.cells, out=tmp_path, seeds=0)
    for scale in (0, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"--scale .* must lie in 0..1, 0 excluded"):
            plan(table, table.cells, out=tmp_path, scale=scale)


def test_the_learning_rate_has_its_own_advice(published, tmp_path):
    table = published.table("table5")
    with pytest.raises(UserError, match=r"optim.lr_batch_size raises or lowers all learning rates alike"):
        plan(table, table.cells[:1], out=tmp_path, overrides=["optim.lr=0.1"])


def _settings(*arguments, **keywords):
    return dict(setting.split("=") for setting in scaled_settings(*arguments, **keywords))


def test_scale_by_hand(root):
    """TTFNet-53 1x: 512 px, batch 96, 12 epochs with drops at 9 and 11, lr .015 for 96, 500 steps of warm-up."""
    config = load_config(root / "configs/ttfnet_d53_1x.yaml")
    # 400 images in batches of 96 / 16 = 6: 67 steps an epoch. 50 x 12 = 600 steps take 9 epochs.
    assert _settings(config, 0.25, 400) == {
        "data.image_size": "[128,128]",
        "train.batch_size": "6",
        "train.epochs": "9",
        "optim.drop_epochs": "[6.75,8.25]",
        "optim.lr_batch_size": "24",
        "optim.warmup_steps": "120",  # a fifth of 603
        "train.evaluate_every": "1",
        "train.keep_checkpoints": "1",
        "model.backbone": "resnet18",
        "model.pretrained": "null",
        "model.frozen_stages": "-1",
        "model.zero_init_residual": "false",
    }
    # COCO: a quarter of the epochs is more than enough.
    large = _settings(config, 0.25, 117266)
    assert (large["train.epochs"], large["optim.drop_epochs"], large["optim.warmup_steps"]) == ("3", "[2.25,2.75]", "500")
    # Very few images: never more epochs than published.
    assert _settings(config, 0.25, 20)["train.epochs"] == "12"
    # Above a half the network stays, as do its weights. 0.75 x 512 = 384; 96 x 9 / 16 = 54.
    three_quarters = _settings(config, 0.75, 400)
    assert not [key for key in three_quarters if key.startswith("model.")]
    assert (three_quarters["data.image_size"], three_quarters["train.batch_size"]) == ("[384,384]", "54")
    # Least sizes.
    tiny = _settings(config, 0.01, 400)
    assert (tiny["data.image_size"], tiny["train.batch_size"]) == ("[64,64]", "4")


def test_scaled_learning_rate_is_the_published_one_times_the_scale(root, published, shapes, tmp_path):
    from ttfnet_tf.config import effective_lr

    table = published.table("table5")
    cells = select(table, ["beta_0.01_lr_0.018_2x", "beta_0.54_lr_0.012_1x"])
    runs = plan(table, cells, out=tmp_path, data=data_folder(shapes).settings, scale=0.25)
    by_name = {run.cell.name: run.config for run in runs}
    assert effective_lr(by_name["beta_0.01_lr_0.018_2x"]) == pytest.approx(0.018 / 4)
    assert effective_lr(by_name["beta_0.54_lr_0.012_1x"]) == pytest.approx(0.012 / 4)
    assert by_name["beta_0.01_lr_0.018_2x"].train.epochs == 24  # 6 images: one step an epoch
    assert {config.model.backbone for config in by_name.values()} == {"resnet18"}


def test_settings_of_the_user_come_after_the_scale(root):
    config = load_config(root / "configs/ttfnet_d53_1x.yaml")
    given = ["train.batch_size=8", "train.epochs=4", "model.pretrained=mine.npz"]
    settings = _settings(config, 0.25, 400, given=given)
    assert not {"train.batch_size", "train.epochs", "model.pretrained", "model.frozen_stages"} & set(settings)
    assert settings["optim.drop_epochs"] == "[3,3.66667]"  # 9 / 12 and 11 / 12 of 4
    assert settings["optim.warmup_steps"] == "40"  # a fifth of 4 x 50
    assert settings["model.backbone"] == "resnet18"
    assert "model.backbone" not in _settings(config, 0.25, 400, swap_backbone=False)


def test_a_scale_sets_nothing_that_the_settings_of_the_user_make_idle(root, table, shapes, tmp_path):
    config = load_config(root / "configs/ttfnet_d53_1x.yaml")
    settings = _settings(config, 0.25, 400, given=["optim.schedule=cosine", "optim.scale_lr=false"], swap_backbone=False)
    assert not {"optim.drop_epochs", "optim.lr_batch_size", "model.zero_init_residual"} & set(settings)
    overrides = ["optim.schedule=cosine", "optim.scale_lr=false", "model.backbone=darknet53"]
    plan(table, table.cells, out=tmp_path, data=data_folder(shapes).settings, scale=0.25, overrides=overrides)


def test_tables_of_backbones_keep_them(published, shapes, tmp_path):
    data = data_folder(shapes).settings
    table = published.table("table6")
    runs = plan(table, table.cells, out=tmp_path, data=data, scale=0.25)
    assert [run.config.model.backbone for run in runs] == ["resnet18", "resnet18", "resnet34", "darknet53", "darknet53"]
    assert {run.config.model.pretrained for run in runs} == {None}


def test_data_folders(shapes, tmp_path):
    found = data_folder(shapes)
    assert found.is_coco is False
    assert found.settings[0] == f"data.train.annotations={shapes / 'annotations/train.json'}"
    assert found.settings[3] == f"data.val.images={shapes / 'val'}"
    folder = tmp_path / "set"
    (folder / "annotations").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has no annotations/train.json"):
        data_folder(folder)
    for name in ("train.json", "val.json"):
        (folder / "annotations" / name).write_text("{}")
    with pytest.raises(UserError, match=r"has no folder train or images"):
        data_folder(folder)
    (folder / "images").mkdir()
    assert data_folder(folder).settings[1::2] == (
        f"data.train.images={folder / 'images'}",
        f"data.val.images={folder / 'images'}",
    )
    for split in ("train", "val"):
        (folder / "annotations" / f"instances_{split}2017.json").write_text("{}")
        (folder / f"{split}2017").mkdir()
    coco = data_folder(folder)
    assert coco.is_coco
    assert coco.settings[1::2] == (f"data.train.images={folder / 'train2017'}", f"data.val.images={folder / 'val2017'}")


def test_missing_files_are_reported_before_the_first_run(table, shapes, tmp_path):
    with pytest.raises(UserError, match=r"^data.train.annotations= does not exist; name the data set by --data FOLDER"):
        check_data(plan(table, table.cells, out=tmp_path))
    data = data_folder(shapes).settings
    check_data(plan(table, table.cells, out=tmp_path, data=data))
    with pytest.raises(UserError, match=r"^model.pretrained=gone.npz does not exist; name weights of resnet18"):
        check_data(plan(table, table.cells, out=tmp_path, data=data, overrides=["model.pretrained=gone.npz"]))
    check_data(plan(table, table.cells, out=tmp_path, data=data, overrides=["model.pretrained=timm/resnet18.tv_in1k"]))
