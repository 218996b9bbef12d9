"""A small run as ONNX in every precision, in onnxruntime and OpenVINO: detections, batches, content of the files, and what is refused."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from onnx_bytes import CARD

from ttfnet_tf import build, cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.forms import PRECISIONS
from ttfnet_tf.inference.onnx_metadata import read_card, with_files
from ttfnet_tf.inference.onnx_predictor import RUNTIMES, OnnxPredictor

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

SIZE = (64, 96)
IMAGES = np.random.default_rng(5).integers(0, 256, (8, *SIZE, 3)).astype(np.uint8)


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture(scope="module")
def run(trained):
    from ttfnet_tf.runs.checkpoint import load_run

    return load_run(trained)


@pytest.fixture(scope="module")
def onnx_files(run, tmp_path_factory):
    """Precision -> file."""
    from ttfnet_tf.export.onnx_model import export_onnx

    folder = tmp_path_factory.mktemp("onnx") / "new"
    images = [image[None] for image in IMAGES]
    return {name: export_onnx(run, folder, precision=name, representative=images) for name in PRECISIONS["onnx"]}


@pytest.fixture(scope="module")
def truth(run):
    """Detections of the Keras model with its usual decoding, on all images."""
    found = build.method_of(run.config, 3).decode(run.model(IMAGES, training=False))
    return {name: value.numpy() for name, value in found.items()}


def test_fp32_detects_what_keras_detects(onnx_files, run, truth, runtime):
    found = OnnxPredictor(onnx_files["fp32"], runtime=runtime)(IMAGES)
    kept = truth["scores"] > run.config.decode.score_threshold
    assert kept.sum() > 100  # enough to compare
    assert np.ptp(truth["boxes"]) > 50
    np.testing.assert_array_equal(found["classes"][kept], truth["classes"][kept])
    np.testing.assert_allclose(found["boxes"][kept], truth["boxes"][kept], rtol=0, atol=1e-4 * SIZE[0])
    np.testing.assert_allclose(found["scores"], truth["scores"] * kept, rtol=0, atol=1e-5)
    assert (found["boxes"].dtype, found["scores"].dtype, found["classes"].dtype) == (np.float32, np.float32, np.int32)


@pytest.mark.parametrize("precision", PRECISIONS["onnx"])
def test_rows_do_not_depend_on_the_batch(onnx_files, precision, runtime):
    predict = OnnxPredictor(onnx_files[precision], runtime=runtime, num_threads=2)
    whole = predict(IMAGES)
    for number in (1, 3):
        for start in range(0, 8 - number, number):
            for name, value in predict(IMAGES[start : start + number]).items():
                np.testing.assert_array_equal(value, whole[name][start : start + number])


# Of the four best detections of each image: bounds of the score, and of the corners in pixels of 64 x 96. One in ten may be in the
# neighbouring cell, where two cells are almost equally good.
@pytest.mark.parametrize(("precision", "score", "pixels"), [("fp16", 0.002, 0.2), ("int8", 0.05, 3.0)])
def test_smaller_precisions_stay_close(onnx_files, truth, precision, score, pixels, runtime):
    found = OnnxPredictor(onnx_files[precision], runtime=runtime)(IMAGES)
    close = []
    for row, rank in np.ndindex(len(IMAGES), 4):
        same_box = abs(found["boxes"][row] - truth["boxes"][row, rank]).max(-1) < pixels
        same_class = found["classes"][row] == truth["classes"][row, rank]
        close.append(np.any(same_box & same_class & (abs(found["scores"][row] - truth["scores"][row, rank]) < score)))
    assert np.mean(close) >= 0.9


def test_signature_and_operations(onnx_files):
    for file in onnx_files.values():
        model = onnx.load(file)
        shapes = {
            value.name: ([side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim], value.type.tensor_type.elem_type)
            for value in (*model.graph.input, *model.graph.output)
        }
        uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
        assert shapes == {
            "input_tensor": (["N", 64, 96, 3], uint8),
            "detection_boxes": (["N", 20, 4], float32),
            "detection_scores": (["N", 20], float32),
            "detection_classes": (["N", 20], float32),
            "num_detections": (["N"], float32),
        }
        assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
        assert {node.domain for node in model.graph.node} == {""}
        # Shapes that depend on data, which TensorRT cannot bound, and box suppression.
        assert not {"NonZero", "NonMaxSuppression", "Unique", "Compress", "Loop", "If", "Scan"} & {
            node.op_type for node in model.graph.node
        }


def _types(model, pattern):
    """Types of the outputs of the nodes of a name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    of = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    return {of[name] for node in graph.node if re.search(pattern, node.name) for name in node.output if name in of}


def test_fp16_keeps_sensitive_parts_in_float(onnx_files):
    model = onnx.load(onnx_files["fp16"])
    assert _types(model, r"layer[1-4].*/Conv2D$|project/MatMul$") == {onnx.TensorProto.FLOAT16}
    for part in (
        r"deconv_layers\.\d\.0/Floor",
        r"conv_offset_mask/Conv2D$",
        r"normalization/add$",
        r"bbox_head\.(hm|wh)\.1/Conv2D$",
        r"^decode/TopK",
    ):
        assert onnx.TensorProto.FLOAT16 not in _types(model, part) != set()


def test_int8_quantises_the_network_alone(onnx_files):
    model = onnx.load(onnx_files["int8"])
    source = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv":
            is_int8 = node.input[1] in source and source[node.input[1]].op_type == "DequantizeLinear"  # the kernel
            assert is_int8 == (not re.search(r"backbone\.conv1/|conv_offset_mask/|bbox_head\.(hm|wh)\.1/", node.name)), node.name
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not re.search(r"decode/|normalization/(truediv|sub|mul)", node.name)
    scores = OnnxPredictor(onnx_files["int8"])(IMAGES)["scores"]
    assert len(np.unique(scores[scores > 0])) > 120  # of 160: not in steps of 1/256


def test_the_card_and_labels_are_metadata(onnx_files):
    import onnxruntime

    for precision, file in onnx_files.items():
        texts = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
        assert texts["labels.txt"] == "cat\ndog\nbird\n"
        assert json.loads(texts["labels.json"])["category_ids"] == [3, 8, 90]
        card = read_card(file)
        assert json.loads(texts["model_card.json"]) == card
        assert (card["kind"], card["precision"], card["image_size"], card["opset"]) == ("onnx", precision, list(SIZE), 17)
        assert card.get("representative_images") == (8 if precision == "int8" else None)


def test_a_process_without_this_package_runs_it(onnx_files, tmp_path):
    code = (
        "import sys, numpy as np, onnxruntime; session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider']);"
        "print(session.run(['num_detections'], {'input_tensor': np.zeros([2, 64, 96, 3], np.uint8)})[0].shape, 'ttfnet_tf' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(onnx_files["fp32"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "(2,) False"


def test_files_that_a_runtime_refuses(onnx_files, tmp_path, runtime):
    whole = onnx.load(onnx_files["fp32"])

    def line_of(change):
        model = onnx.ModelProto.FromString(whole.SerializeToString())
        change(model)
        file = tmp_path / "model.onnx"
        file.write_bytes(model.SerializeToString())
        with pytest.raises(UserError) as caught:
            OnnxPredictor(file, runtime=runtime)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{file}: ")

    def rename_input(model):
        model.graph.input[0].name = "image"
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = "image" if name == "input_tensor" else name

    def other_card(model):
        card = {**read_card(onnx_files["fp32"]), "image_size": [64, 64]}
        next(one for one in model.metadata_props if one.key == "model_card.json").value = json.dumps(card)

    assert line_of(lambda model: model.graph.node.pop(0)).startswith(f"cannot be loaded by {runtime} (")
    assert line_of(lambda model: setattr(model.graph.node[5], "op_type", "Nonsense")).startswith(f"cannot be loaded by {runtime} (")
    assert line_of(lambda model: setattr(model.graph.node[5], "domain", "mine")).startswith(f"cannot be loaded by {runtime} (")
    named = line_of(lambda model: (setattr(model.graph.node[5], "op_type", "\x1b[31m"), setattr(model.graph.node[5], "name", "\x1b[31m")))
    assert "\x1b" not in named
    for change in (rename_input, other_card, lambda model: model.graph.output.pop(0)):
        assert line_of(change) == "has other inputs and outputs than its model card says; export the run again"
    if runtime == "onnxruntime":
        assert line_of(lambda model: setattr(model.opset_import[0], "version", 999)).startswith("cannot be loaded by onnxruntime (")


def test_a_graph_of_nothing(tmp_path, runtime):
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    (tmp_path / "model.onnx").write_bytes(with_files(empty.SerializeToString(), {"model_card.json": json.dumps(CARD)}))
    with pytest.raises(UserError, match=r"model\.onnx: (cannot be loaded|has other inputs)"):
        OnnxPredictor(tmp_path / "model.onnx", runtime=runtime)


def test_a_network_that_does_not_convert(run, tmp_path, monkeypatch):
    from ttfnet_tf.export import onnx_model

    def fail(*_, **__):
        raise onnx.checker.ValidationError("No Op registered for Foo\nmore")

    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(UserError, match=r"backbone=resnet18.*does not have \(No Op registered for Foo\); export it as saved_model"):
        onnx_model.export_onnx(run, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_precision(run, tmp_path):
    from ttfnet_tf.export.onnx_model import export_onnx

    with pytest.raises(UserError, match="'dynamic' of an ONNX file is unknown; choose fp32, fp16, int8"):
        export_onnx(run, tmp_path, precision="dynamic")


def test_commands(trained, files, tmp_path, capfd):
    """Export with a Triton repository, again over its own files, then prediction by the file and by the run."""
    out, triton, images = tmp_path / "models", tmp_path / "triton", tmp_path / "images"
    images.mkdir()
    for name, content in files.items():
        (images / name).write_bytes(content)
    command = ["export", str(trained), "--out", str(out), "--format", "onnx", "--triton", str(triton)]
    for _ in range(2):
        assert cli.main(command) == 0, capfd.readouterr().err
    printed = capfd.readouterr()
    assert "model_fp32.onnx: ONNX, fp32" in printed.out
    assert "WARNING" not in printed.err
    file = out / "tiny" / "model_fp32.onnx"
    assert sorted(path.relative_to(triton).as_posix() for path in triton.rglob("*") if path.is_file()) == [
        "tiny/1/model.onnx",
        "tiny/2/model.onnx",
        "tiny/config.pbtxt",
    ]
    assert (triton / "tiny" / "2" / "model.onnx").read_bytes() == file.read_bytes()
    records = []
    for source, name in ((trained, "run"), (file, "file")):
        more = ["--out", str(tmp_path / name), "--score-threshold", "0.2"]
        assert cli.main(["predict", str(source), str(images), *more]) == 0, capfd.readouterr().err
        records.append(json.loads((tmp_path / name / "detections.json").read_text())["images"])
    expected, found = records
    assert sum(len(image["detections"]) for image in expected) > 20
    for one, other in zip(expected, found):
        assert [box["class_id"] for box in one["detections"]] == [box["class_id"] for box in other["detections"]]
        for first, second in zip(one["detections"], other["detections"]):
            np.testing.assert_allclose(second["box"], first["box"], rtol=0, atol=0.02)
    file.write_bytes(b"mine")
    assert cli.main(command) == 2
    assert "was not written by ttfnet export" in capfd.readouterr().err


def test_the_matrix_and_evaluate_take_the_file(trained, tmp_path, monkeypatch):
    from ttfnet_tf.benchmarks import conformance_matrix
    from ttfnet_tf.benchmarks.timing import Times
    from ttfnet_tf.data.shapes import draw_shapes

    chosen = {}

    def times(models, **keywords):  # faked: its processes would load networks of full width
        chosen.update(keywords["onnx_runtimes"])
        return {name: Times((1.0,)) for name in models}

    monkeypatch.setattr(conformance_matrix, "time_in_turn", times)
    draw_shapes(tmp_path, train=1, val=8, size=SIZE, seed=1)
    annotations = json.loads((tmp_path / "annotations" / "val.json").read_text())
    annotations["categories"] = [{"id": number, "name": name} for number, name in ((3, "cat"), (8, "dog"), (90, "bird"))]
    for number, one in enumerate(annotations["annotations"]):
        one["category_id"] = (3, 8, 90)[number % 3]
    (tmp_path / "val.json").write_text(json.dumps(annotations))
    data = [f"data.val.annotations={tmp_path}/val.json", f"data.val.images={tmp_path}/val"]
    assert cli.main(["export", str(trained), "--out", str(tmp_path), "--format", "onnx", "--precision", "fp32", "--matrix", *data]) == 0
    found = json.loads((tmp_path / "tiny" / "matrix.json").read_text())
    installed = [name for name in RUNTIMES if importlib.util.find_spec(name)]
    assert chosen == {f"onnx fp32, {name}": name for name in installed}
    assert [row["name"] for row in found["rows"]] == ["checkpoint", *chosen]
    assert [one.split()[0] for one in found["onnx_runtimes"]] == installed
    for row in found["rows"][1:]:
        assert row["matched"] == row["compared"] > 10
        assert max(row["corners"]) < 1e-2
        assert row["AP"] == pytest.approx(found["rows"][0]["AP"], abs=0.001)
    card = read_card(tmp_path / "tiny" / "model_fp32.onnx")
    assert card["matrix"] == found
    assert f"Those of .onnx files: {found['onnx_runtimes'][0]}" in (tmp_path / "tiny" / "matrix.md").read_text()
    assert cli.main(["evaluate", str(tmp_path / "tiny" / "model_fp32.onnx"), *data]) == 0  # with the card in it
    evaluated = json.loads((tmp_path / "tiny" / "eval" / "model_fp32.onnx" / "metrics.json").read_text())
    assert evaluated["metrics"]["AP"] == pytest.approx(found["rows"][1]["AP"], abs=1e-6)


def test_it_is_timed_in_both_runtimes(onnx_files, runtime):
    from ttfnet_tf.benchmarks.timing import by_runtime, time_in_turn

    forms, runtimes = by_runtime({"a": onnx_files["fp32"]})
    times = time_in_turn({f"a, {runtime}": forms[f"a, {runtime}"]}, threads=1, repeats=2, onnx_runtimes=runtimes)
    assert all(value > 0 for value in times[f"a, {runtime}"].milliseconds)


def test_a_model_that_fails_on_an_image(onnx_files, tmp_path):
    model = onnx.load(onnx_files["fp32"])
    large = np.array(10**6, np.int64)
    sizes = [one for one in model.graph.initializer if onnx.numpy_helper.to_array(one).tolist() == [20]]
    assert sizes  # K of top-k
    for one in sizes:
        one.CopyFrom(onnx.numpy_helper.from_array(large.reshape(1), one.name))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"model\.onnx: (cannot be loaded|fails on an image)"):
        OnnxPredictor(tmp_path / "model.onnx")(IMAGES)


def test_large_category_ids(run, tmp_path):
    from ttfnet_tf.export.onnx_model import export_onnx
    from ttfnet_tf.runs.run_folder import Labels

    other = dataclasses.replace(run, labels=Labels(("cat", "dog", "bird"), (3, 8, 2**24 + 1)))
    with pytest.raises(UserError, match="category id 16777217 is above 16777216"):
        export_onnx(other, tmp_path)
