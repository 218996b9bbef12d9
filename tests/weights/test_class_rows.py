"""Classes of a run follow their names into another network: from a run, and from an exported SavedModel."""

import functools
import json
import shutil

import networks
import numpy as np
import pytest
import small_run

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.saved_model import export_saved_model
from ttfnet_tf.models.parameters import named_buffers, named_parameters
from ttfnet_tf.runs.checkpoint import load_run
from ttfnet_tf.weights.class_rows import note, renamed_classes, row_pairs, with_class_rows
from ttfnet_tf.weights.load import read_source
from ttfnet_tf.weights.pretrained import load_pretrained_of

RUN = ("cat", "dog", "bird")  # of `small_run`


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    networks.narrow(monkeypatch)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """run_of(per_class) -> a run with one box, or with one for each class; written when it is first asked for."""

    @functools.cache
    def write(per_class):
        overrides = ["model.box_per_class=true"] if per_class else []
        return small_run.write_run(tmp_path_factory.mktemp("run") / "run", overrides=overrides)

    return write


@pytest.fixture(scope="module")
def exported(run_of, tmp_path_factory):
    """exported(per_class, precision) -> the version folder of its SavedModel."""
    return functools.cache(
        lambda per_class, precision: export_saved_model(
            load_run(run_of(per_class)), tmp_path_factory.mktemp("models"), name="m", precision=precision
        )
    )


def values(model):
    return {name: variable.numpy() for name, variable in {**named_parameters(model), **named_buffers(model)}.items()}


@pytest.mark.parametrize(
    ("here", "there", "renamed", "pairs"),
    [
        (("a", "b"), ("b", "a"), {}, [(0, 1), (1, 0)]),
        (("a", "b", "c"), ("c",), {}, [(2, 0)]),
        (("lorry", "car"), ("car", "truck"), {"lorry": "truck"}, [(0, 1), (1, 0)]),
        (("a",), ("x", "a", "a"), {}, [(0, 1)]),
        (("a",), ("b",), {}, []),
    ],
)
def test_pairs_of_classes(here, there, renamed, pairs):
    assert row_pairs(here, there, renamed) == pairs


def test_rows_by_hand():
    own = {"h.1.bias": np.array([0.1, 0.2, 0.3]), "w.1.bias": np.arange(12.0), "other": np.zeros(3)}
    theirs = {"h.1.bias": np.array([7.0, 8.0]), "w.1.bias": 100 + np.arange(8.0), "other": np.ones(3)}
    found = with_class_rows(theirs, own, ["h", "w"], [(0, 1), (2, 0)], (3, 2))
    assert found["h.1.bias"].tolist() == [8.0, 0.2, 7.0]
    assert found["w.1.bias"].tolist() == [104, 105, 106, 107, 4, 5, 6, 7, 100, 101, 102, 103]  # four sides a class
    assert found["other"] is theirs["other"]


def test_a_head_without_rows_for_classes_stays():
    own, theirs = {"h.1.bias": np.zeros(3), "w.1.bias": np.zeros(4)}, {"h.1.bias": np.ones(4), "w.1.bias": np.ones(4)}
    found = with_class_rows(theirs, own, ["h", "w"], [(0, 0)], (3, 4))
    assert found["h.1.bias"].tolist() == [1, 0, 0]
    assert found["w.1.bias"] is theirs["w.1.bias"]


def test_the_note_names_new_and_other_classes():
    assert note(("a", "b"), ("a", "c"), [(0, 0)]) == "1 of 2 classes keep their rows of the heads; new: b; not taken: c"
    assert note(("a",), ("a",), [(0, 0)]) == "1 of 1 classes keep their rows of the heads"


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (["lorry=truck"], "model.pretrained_classes: the training annotations has no class 'lorry'; it has a, b"),
        (["a=truck"], "model.pretrained_classes: model.pretrained has no class 'truck'; it has c"),
    ],
)
def test_names_that_are_not_there_are_refused(pairs, line):
    with pytest.raises(UserError) as caught:
        renamed_classes(pairs, ("a", "b"), ("c",))
    assert str(caught.value) == line


# `make integration` has the exported forms.
FORMS = [(form, per_class) for form in ("run", "saved_model", "saved_model bf16") for per_class in (False, True)]


@pytest.mark.parametrize(
    ("form", "per_class"),
    [
        pytest.param(*one, id=f"{one[0]}, box per class" if one[1] else one[0], marks=[pytest.mark.slow] * (one[0] != "run"))
        for one in FORMS
    ],
)
def test_rows_follow_the_names(form, per_class, run_of, exported):
    overrides = ["model.box_per_class=true"] if per_class else []
    source = run = run_of(per_class)
    if form != "run":
        source = exported(per_class, "bf16" if "bf16" in form else "fp32").parent
    trained = values(load_run(run).model)
    config = load_config(run.parent / "run.yaml", [*overrides, f"model.pretrained={source}", "model.pretrained_classes=[fish=cat]"])
    model = build.model_of(config, 4)
    before = values(model)
    report = load_pretrained_of(config, model, ("bird", "horse", "dog", "fish"))
    assert report.splitlines()[-1] == "  3 of 4 classes keep their rows of the heads; new: horse"
    found = values(model)
    exact = {"rtol": 2**-8} if "bf16" in form else {"rtol": 0}  # half of a unit of bfloat16's 8 bits
    for name, own in found.items():
        rows = 1 if ".hm.1." in name else 4 if ".wh.1." in name and per_class else None
        if rows is None:
            np.testing.assert_allclose(own, trained[name], err_msg=name, **exact)
            continue
        grouped = {
            key: np.reshape(value, [*value.shape[:-1], -1, rows])
            for key, value in (("own", own), ("old", trained[name]), ("new", before[name]))
        }
        for here, there in ((0, 2), (2, 1), (3, 0)):
            np.testing.assert_allclose(grouped["own"][..., here, :], grouped["old"][..., there, :], err_msg=name, **exact)
        np.testing.assert_array_equal(grouped["own"][..., 1, :], grouped["new"][..., 1, :], err_msg=name)


@pytest.mark.slow
def test_the_same_number_of_other_classes_takes_no_rows_by_place(run_of):
    run = run_of(False)
    config = load_config(run.parent / "run.yaml", [f"model.pretrained={run}"])
    model = build.model_of(config, 3)
    before = values(model)
    report = load_pretrained_of(config, model, ("x", "y", "z"))
    assert report.splitlines()[-1] == "  0 of 3 classes keep their rows of the heads; new: x, y, z; not taken: cat, dog, bird"
    np.testing.assert_array_equal(values(model)["bbox_head.hm.1.bias"], before["bbox_head.hm.1.bias"])


def test_a_deeper_head_takes_no_rows_and_says_so(run_of):
    run = run_of(False)
    config = load_config(run.parent / "run.yaml", [f"model.pretrained={run}", "model.heatmap_head.depth=2"])
    report = load_pretrained_of(config, build.model_of(config, 4), ("bird", "horse", "dog", "cat"))
    assert report.splitlines()[-1] == "  0 of 4 classes keep their rows of the heads, because model.heatmap_head.depth differs"


def test_a_run_with_other_heads_is_one_line(run_of):
    run = run_of(False)
    config = load_config(run.parent / "run.yaml", [f"model.pretrained={run}", "model.heatmap_head.width=16"])
    with pytest.raises(UserError) as caught:
        load_pretrained_of(config, build.model_of(config, 4), ("bird", "horse", "dog", "cat"))
    assert str(caught.value) == (
        f"{run}: bbox_head.hm.0.conv.weight has the shape (8, 8, 3, 3), and this model needs (16, 8, 3, 3); was it trained with other "
        "settings model.*?"
    )


def test_names_need_a_source_that_tells_them(run_of, tmp_path):
    run = run_of(False)
    np.savez(tmp_path / "w.npz", **read_source(run).tensors)
    config = load_config(run.parent / "run.yaml", [f"model.pretrained={tmp_path}/w.npz", "model.pretrained_classes=[a=cat]"])
    with pytest.raises(UserError, match="holds no names of classes; name a run or an exported SavedModel"):
        load_pretrained_of(config, build.model_of(config, 3), ("a", "b", "c"))


def test_a_damaged_saved_model_is_one_line(exported, tmp_path):
    folder = shutil.copytree(exported(True, "fp32"), tmp_path / "models" / "m" / "1")
    card = folder / "assets/model_card.json"
    content = json.loads(card.read_text())
    content["config"]["model"]["neck_channels"] = [16, 8, 8]
    card.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is damaged or was not exported by this version .*the network in its card has"):
        read_source(folder)
    card.write_text("{}")
    with pytest.raises(UserError, match="is missing or is no model card"):
        read_source(folder)
