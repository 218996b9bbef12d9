"""Recipes by name: in a clone, in an installed package, and as the base of a user's own file."""

import shutil

import pytest

from ttfnet_tf import cli, recipes
from ttfnet_tf.config import load_config


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["ttfnet_r18_1x", "ttfnet_r18_1x.yaml", "configs/ttfnet_r18_1x.yaml", "configs/ttfnet_r18_1x"])
def test_a_recipe_is_found_from_every_folder(name, root, elsewhere):
    assert recipes.find_recipe(name) == root / "configs" / "ttfnet_r18_1x.yaml"
    assert load_config(name).optim.drop_epochs == [9, 11]


def test_a_recipe_in_a_subfolder(root, elsewhere):
    assert recipes.find_recipe("ablations/table4") == root / "configs" / "ablations" / "table4.yaml"


def test_a_file_of_the_user_comes_first_and_a_folder_does_not(root, elsewhere):
    (elsewhere / "demo").mkdir()  # as `ttfnet demo` leaves it
    assert recipes.find_recipe("demo") == root / "configs" / "demo.yaml"
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs" / "demo.yaml").write_text("train: {epochs: 3}")
    assert load_config("configs/demo.yaml", ["optim.drop_epochs=[]"]).train.epochs == 3


@pytest.mark.parametrize("name", ["none", "configs/none.yaml", "../configs/demo.yaml", "/configs/demo.yaml"])
def test_other_names_stay_what_they_are(name, elsewhere):
    assert recipes.recipe_file(name) is None
    assert str(recipes.find_recipe(name)) == name


def test_a_recipe_is_the_base_of_a_file_of_the_user(elsewhere):
    (elsewhere / "mine.yaml").write_text("base: ttfnet_r18_1x\ntrain: {batch_size: 8}")
    config = load_config("mine.yaml")
    assert (config.train.batch_size, config.optim.drop_epochs) == (8, [9, 11])


def test_a_base_beside_the_file_comes_before_a_recipe(elsewhere):
    (elsewhere / "demo.yaml").write_text("train: {batch_size: 3}")
    (elsewhere / "inner").mkdir()
    (elsewhere / "inner" / "demo.yaml").write_text("train: {batch_size: 5}")
    (elsewhere / "inner" / "mine.yaml").write_text("base: demo.yaml")
    assert load_config("inner/mine.yaml").train.batch_size == 5


def test_an_installed_package_has_the_recipes_inside(root, elsewhere, monkeypatch):
    shutil.copytree(root / "configs", elsewhere / "ttfnet_tf" / "configs")
    monkeypatch.setattr(recipes, "_PACKAGE", elsewhere / "ttfnet_tf")
    file = recipes.find_recipe("ablations/table1")
    assert file == elsewhere / "ttfnet_tf" / "configs" / "ablations" / "table1.yaml"
    assert recipes.recipe_path(file) == "configs/ablations/table1.yaml"


def test_recipes_are_named_on_the_command_line_so_that_every_folder_can_run_them(root, elsewhere):
    assert recipes.recipe_path(root / "configs" / "demo.yaml") == "configs/demo.yaml"
    assert recipes.recipe_path(elsewhere / "mine.yaml") == "mine.yaml"


def test_list_prints_every_recipe_with_what_it_is(root, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "--list"])
    assert left.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    files = {path.relative_to(root / "configs").as_posix().removesuffix(".yaml") for path in (root / "configs").rglob("*.yaml")}
    assert set(names) == files - {"_base", "published"}
    assert len(names) == len(set(names))
    demo = next(line for line in lines if line.startswith("demo "))
    assert demo.split(maxsplit=1)[1] == "TTFNet-18 on drawn shapes: a first look that needs nothing but two CPU cores and a few minutes"
