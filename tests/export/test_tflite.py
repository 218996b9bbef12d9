"""A small run exported in every precision: content of the files, detections, and what is refused."""

import dataclasses
import re
import subprocess
import sys
import zipfile
from importlib import metadata

import networks
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from ttfnet_tf import build
from ttfnet_tf.config import Config, DataConfig, DecodeConfig, ModelConfig, SplitConfig
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.forms import PRECISIONS
from ttfnet_tf.export.task_metadata import task_metadata
from ttfnet_tf.export.tflite import export_tflite
from ttfnet_tf.export.tflite_int8 import representative_images
from ttfnet_tf.inference import tflite_predictor
from ttfnet_tf.inference.tflite_metadata import read_card, read_files, replace_files, with_files
from ttfnet_tf.inference.tflite_predictor import TFLitePredictor, interpreter_class
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs.checkpoint import LoadedRun
from ttfnet_tf.runs.run_folder import Labels

SIZE = (64, 96)
IMAGES = np.random.default_rng(5).integers(0, 256, (4, 1, *SIZE, 3)).astype(np.uint8)
SMALL = {"width": 8, "neck_channels": (16, 8, 8), "shortcut": (1, 1, 1), "heatmap_head": (8, 2), "box_head": (8, 1)}


def _run(folder, **keywords):
    """A run whose initial values are not zero, so that offsets, masks and boxes matter."""
    model = networks.build(2, **{"backbone": "shallow", **SMALL, **keywords}, zero_init_residual=False, image_size=SIZE)
    random = np.random.default_rng(2)
    for name, variable in named_parameters(model).items():
        if "conv_offset_mask" in name:
            variable.assign(0.1 * random.standard_normal(variable.shape))
        elif variable.shape.rank == 1 and ".wh." in name:
            variable.assign(0.5 + 0.1 * random.random(variable.shape))
        elif ".wh." in name:
            variable.assign(0.3 * random.standard_normal(variable.shape) / np.sqrt(np.prod(variable.shape[:3])))
        elif variable.shape.rank == 4 and ".hm." in name:
            variable.assign(0.7 * random.standard_normal(variable.shape) / np.sqrt(np.prod(variable.shape[:3])))
    settings = {key: value for key, value in keywords.items() if key in ("backbone", "method", "neck")}
    config = Config(data=DataConfig(image_size=list(SIZE)), decode=DecodeConfig(top_k=12), model=ModelConfig(**settings))
    return LoadedRun(config, Labels(("cat", "dög"), (3, 4097)), model, 7, folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return _run(tmp_path_factory.mktemp("run"))


class Files(dict):
    """Precision -> file, exported when it is first asked for: each takes seconds."""

    def __init__(self, run, folder):
        super().__init__()
        self._run, self._folder = run, folder

    def __missing__(self, precision):
        self[precision] = export_tflite(self._run, self._folder, precision=precision, representative=lambda: iter(IMAGES))
        return self[precision]


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    return Files(run, tmp_path_factory.mktemp("tflite") / "new")


# `make integration` has the two that quantise weights alone.
every_precision = pytest.mark.parametrize(
    "precision", [pytest.param(name, marks=[pytest.mark.slow] * (name != "fp32")) for name in PRECISIONS["tflite"]]
)


@pytest.fixture(scope="module")
def truth(run):
    """Detections of the Keras model with its usual decoding, on all images."""
    found = build.method_of(run.config, 2).decode(run.model(IMAGES[:, 0], training=False))
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.slow
def test_fp32_detects_what_keras_detects(files, run, truth):
    runner = interpreter_class("tensorflow")(str(files["fp32"])).get_signature_runner("serving_default")
    threshold = np.float32(run.config.decode.score_threshold)
    assert (truth["scores"] > threshold).sum() > 20  # enough to compare
    assert np.ptp(truth["boxes"]) > 10
    for row, image in enumerate(IMAGES):
        found = runner(image=image)
        assert {name: (value.shape, value.dtype) for name, value in found.items()} == {
            "detection_boxes": ((1, 12, 4), np.float32),
            "detection_scores": ((1, 12), np.float32),
            "detection_classes": ((1, 12), np.float32),
            "num_detections": ((1,), np.float32),
        }
        x1, y1, x2, y2 = truth["boxes"][row].T
        kept = truth["scores"][row] > threshold
        expected = np.stack([y1 / 64, x1 / 96, y2 / 64, x2 / 96], -1) * kept[:, None]
        np.testing.assert_allclose(found["detection_boxes"][0], expected, atol=1e-4)
        np.testing.assert_allclose(found["detection_scores"][0], truth["scores"][row] * kept, atol=1e-4)
        np.testing.assert_array_equal(found["detection_classes"][0], np.where(truth["classes"][row] == 0, 3, 4097) * kept)
        assert found["num_detections"] == [kept.sum()]


@every_precision
def test_signature_is_the_same_in_every_precision(files, precision):
    runner = interpreter_class("tensorflow")(str(files[precision])).get_signature_runner("serving_default")
    inputs = {name: (tuple(detail["shape"]), detail["dtype"]) for name, detail in runner.get_input_details().items()}
    assert inputs == {"image": ((1, *SIZE, 3), np.uint8)}
    outputs = {name: (detail["dtype"], detail["quantization"]) for name, detail in runner.get_output_details().items()}
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    assert outputs == dict.fromkeys(names, (np.float32, (0.0, 0)))


@every_precision
def test_operations_are_built_in(files, precision, capfd):
    tf.lite.experimental.Analyzer.analyze(model_path=str(files[precision]))
    operations = set(re.findall(r"Op#\d+ (\w+)\(", capfd.readouterr().out))
    assert {"CONV_2D", "GATHER", "TOPK_V2"} <= operations
    assert not [name for name in operations if name.startswith(("Flex", "CUSTOM")) or name != name.upper()]


def _types(file):
    """Name -> type of every tensor."""
    return {detail["name"]: detail["dtype"] for detail in interpreter_class("tensorflow")(str(file)).get_tensor_details()}


@pytest.mark.parametrize(
    ("precision", "fraction", "has_int8", "has_float16"),
    [
        pytest.param("fp16", 0.7, False, True, marks=pytest.mark.slow),
        pytest.param("dynamic", 0.6, True, False, marks=pytest.mark.slow),
        ("int8", 0.6, True, False),
        ("fp32", 1.0, False, False),
    ],
)
def test_types_and_sizes_of_the_precisions(files, precision, fraction, has_int8, has_float16):
    assert files[precision].stat().st_size <= fraction * files["fp32"].stat().st_size
    types = set(_types(files[precision]).values())
    assert (np.int8 in types, np.float16 in types) == (has_int8, has_float16)


@pytest.mark.slow
# Parts of sampling, boxes, logits and decoding. int8 sampling would break the first, int8 top-k the last.
@pytest.mark.parametrize(
    "part",
    [r"deconv_layers\.\d\.0/Floor", r"conv_offset_mask/", r"normalization/add$", r"bbox_head\.hm\.2/", r"wh\.1/", r"^decode/.*TopKV2"],
)
def test_int8_keeps_sensitive_parts_in_float(files, part):
    activations = {
        name: kind for name, kind in _types(files["int8"]).items() if re.search(part, name) and "Bias" not in name.split(";")[-1]
    }
    assert activations
    assert np.int8 not in activations.values()


@pytest.mark.slow
def test_int8_computes_the_rest_in_int8(files):
    types = _types(files["int8"])
    convolutions = [kind for name, kind in types.items() if re.search(r"layer[1-4]\.\d(\.relu|)/Relu", name)]
    assert len(convolutions) >= 8
    assert set(convolutions) == {np.int8}
    assert np.int8 in [kind for name, kind in types.items() if "/project/MatMul" in name]


@pytest.mark.slow
def test_int8_scores_are_not_quantised(files):
    scores = TFLitePredictor(files["int8"])(IMAGES[:, 0])["scores"]
    assert not (scores * 256 == np.round(scores * 256)).all()


@every_precision
def test_outputs_have_the_order_of_the_task_library(files, precision):
    interpreter = interpreter_class("tensorflow")(str(files[precision]))
    by_name = interpreter.get_signature_runner("serving_default").get_output_details()
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    assert [one["index"] for one in interpreter.get_output_details()] == [by_name[name]["index"] for name in names]


@every_precision
def test_the_metadata_table_is_in_the_model(files, precision):
    file = files[precision]
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(file.read_bytes()))
    (table,) = [bytes(model.buffers[one.buffer].data) for one in model.metadata if one.name == b"TFLITE_METADATA"]
    assert table == task_metadata(read_card(file))
    assert precision.encode() in table
    assert read_files(file)["labels_by_id.txt"].splitlines()[3:5] == ["cat", "???"]


def test_attached_files_are_replaced(files, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(files["int8"].read_bytes())
    replace_files(path, {"labels.txt": "x\n", "new.txt": "y"})
    before = read_files(files["int8"])
    assert read_files(path) == {**before, "labels.txt": "x\n", "new.txt": "y"}
    with zipfile.ZipFile(path) as archive:
        start = min(one.header_offset for one in archive.infolist())
    assert path.read_bytes()[:start] == files["int8"].read_bytes()[:start]
    assert [one.name for one in tmp_path.iterdir()] == ["model.tflite"]


# Bounds for the four best detections of each image: of the score, and of the corners in pixels of 64 x 96. One in ten may be in the
# neighbouring cell, where two cells are almost equally good.
@pytest.mark.parametrize(
    ("precision", "score", "pixels"),
    [
        pytest.param("fp16", 0.001, 0.1, marks=pytest.mark.slow),
        pytest.param("dynamic", 0.01, 0.2, marks=pytest.mark.slow),
        ("int8", 0.02, 0.5),
    ],
)
def test_smaller_precisions_stay_close(files, truth, precision, score, pixels):
    found = TFLitePredictor(files[precision])(IMAGES[:, 0])
    close = []
    for row, rank in np.ndindex(len(IMAGES), 4):
        same_box = abs(found["boxes"][row] - truth["boxes"][row, rank]).max(-1) < pixels
        same_class = found["classes"][row] == truth["classes"][row, rank]
        close.append(np.any(same_box & same_class & (abs(found["scores"][row] - truth["scores"][row, rank]) < score)))
    assert np.mean(close) >= 0.9


def test_the_predictor_matches_predict_function(files, run, truth):
    predictor = TFLitePredictor(files["fp32"])
    assert (predictor.image_size, predictor.class_names, predictor.category_ids) == (SIZE, ("cat", "dög"), (3, 4097))
    found = predictor(IMAGES[:, 0])
    kept = truth["scores"] > run.config.decode.score_threshold
    np.testing.assert_allclose(found["boxes"][kept], truth["boxes"][kept], atol=1e-2)
    np.testing.assert_array_equal(found["classes"][kept], truth["classes"][kept])
    assert (found["boxes"].dtype, found["scores"].dtype, found["classes"].dtype) == (np.float32, np.float32, np.int32)


@every_precision
def test_attached_files(files, precision):
    with zipfile.ZipFile(files[precision]) as archive:
        assert archive.read("labels.txt").decode() == "cat\ndög\n"
        assert archive.testzip() is None
    card = read_card(files[precision])
    assert (card["kind"], card["precision"], card["image_size"], card["top_k"]) == ("tflite", precision, list(SIZE), 12)
    assert card["normalization"]["inside"] is True
    assert card["normalization"]["mean"] == [123.675, 116.28, 103.53]
    assert card.get("representative_images") == (4 if precision == "int8" else None)


def test_the_model_keeps_its_sampler(run, files):
    assert files["fp32"].exists()
    assert {layer.sampler for layer in run.model.submodules if hasattr(layer, "sampler")} == {"crop_and_resize"}


@pytest.fixture
def trained(run, write_coco):
    """The run with a training set of six images."""
    sizes = {number: (64, 96) if number < 6 else (128, 96) for number in range(1, 7)}
    annotations, images = write_coco(sizes, [(number, 3, [4, 4, 20, 20]) for number in sizes], {3: "cat", 90: "dog"})
    split = SplitConfig(annotations=str(annotations), images=str(images))
    return dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, train=split))


def test_representative_images_depend_on_the_seed(trained):
    drawn = [image.copy() for image in representative_images(trained, count=4, seed=3)]
    assert [(image.shape, image.dtype) for image in drawn] == [((1, *SIZE, 3), np.uint8)] * 4
    again = list(representative_images(trained, count=4, seed=3))
    np.testing.assert_array_equal(drawn, again)
    assert len(np.unique(np.reshape(drawn, [4, -1]), axis=0)) == 4
    everything = list(representative_images(trained, count=100, seed=3))
    assert len(everything) == 6
    other = list(representative_images(trained, count=4, seed=4))
    assert not np.array_equal(other, drawn)
    # Each is an image of the training set: write_coco draws image n with the seed n.
    files = {np.random.default_rng(n).integers(0, 255, (64, 96, 3), np.uint8).tobytes() for n in range(1, 6)}
    assert sum(image.tobytes() in files for image in everything) == 5


def test_int8_without_training_images(run, tmp_path):
    with pytest.raises(UserError, match=r"int8 needs training images for its scales: data\.train\.annotations is not set.*choose dynamic"):
        export_tflite(run, tmp_path, precision="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [[np.zeros([1, 8, 8, 3], np.uint8)], [np.zeros([1, *SIZE, 3], np.float32)], []])
def test_other_representative_images_are_refused(run, tmp_path, images):
    with pytest.raises(ValueError, match="representative"):
        export_tflite(run, tmp_path, precision="int8", representative=images)


def test_unknown_precision(run, tmp_path):
    with pytest.raises(UserError, match="'int4' of a TFLite file is unknown; choose fp32, fp16, dynamic, int8"):
        export_tflite(run, tmp_path, precision="int4")


def test_folder_that_is_a_file(run, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("ttfnet_tf.export.tflite._save", lambda *_: None)
    monkeypatch.setattr("ttfnet_tf.export.tflite._convert", lambda *_: b"")
    monkeypatch.setattr("ttfnet_tf.export.tflite.with_task_metadata", lambda content, card: content)
    with pytest.raises(UserError, match=r"taken.*cannot be written"):
        export_tflite(run, tmp_path / "taken")


def test_a_network_that_does_not_convert(run, tmp_path, monkeypatch):
    class ConverterError(Exception):
        pass

    def fail(*_):
        raise ConverterError("\x1b[31m<unknown>:0: error: no such operation: tf.Foo\nmore")

    monkeypatch.setattr("ttfnet_tf.export.tflite._save", lambda *_: None)
    monkeypatch.setattr("ttfnet_tf.export.tflite._convert", fail)
    with pytest.raises(UserError, match=r"backbone=resnet18.*does not have \(error: no such operation: tf\.Foo\)"):
        export_tflite(run, tmp_path)


def test_files_without_a_model_card(tmp_path, files):
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(b"TFL3")
    with pytest.raises(UserError, match=r"plain\.tflite: has no labels"):
        read_files(plain)
    plain.write_bytes(with_files(b"TFL3", {"other.txt": "x"}))
    with pytest.raises(UserError, match=r"plain\.tflite: has no model_card\.json"):
        TFLitePredictor(plain)
    plain.write_bytes(with_files(b"nothing", read_files(files["fp32"])))
    with pytest.raises(UserError, match=r"plain\.tflite: cannot be loaded"):
        TFLitePredictor(plain)
    with pytest.raises(UserError, match=r"gone\.tflite: cannot be read"):
        TFLitePredictor(tmp_path / "gone.tflite")


def test_litert_gives_the_same_detections(files):
    pytest.importorskip("ai_edge_litert")
    found, expected = (TFLitePredictor(files["int8"], runtime=runtime)(IMAGES[:, 0]) for runtime in ("litert", "tensorflow"))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=0.02)


def test_litert_that_is_not_installed(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match="pip install ai-edge-litert"):
        TFLitePredictor(files["fp32"], runtime="litert")


@pytest.mark.parametrize(
    ("version", "installed", "runtime"),
    [("2.15.1", True, "tensorflow"), ("2.18.0", True, "litert"), ("2.18.0", False, "tensorflow"), (None, True, "litert")],
)
def test_the_interpreter_is_the_one_that_stays(version, installed, runtime, monkeypatch):
    def version_of(package):
        if version is None:
            raise metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(tflite_predictor, "find_spec", lambda name: "there" if installed else None)
    monkeypatch.setattr(tflite_predictor.metadata, "version", version_of)
    assert tflite_predictor.default_runtime() == runtime


def test_predictor_module_does_not_import_tensorflow(root):
    code = "import ttfnet_tf.inference.tflite_predictor, sys; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout == "False\n"
