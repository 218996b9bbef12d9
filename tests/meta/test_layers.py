"""Imports inside the package point one way: down the table below, and from right to left in a row."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The lowest layer first. A package may import from itself, from earlier rows, and from what is left of it in its row.
LAYERS = (
    (
        "errors",
        "boxes",
        "json_text",
        "json_parts",
        "plain_text",
        "protobuf_fields",
        "files",
        "deadline",
        "web",
        "locations",
        "outputs",
        "progress",
        "keras2",
        "quiet_import",
        "recipes",
        "processor",
    ),  # used everywhere
    ("layers", "models", "methods", "config"),  # a detector, and its settings
    ("data", "doctor", "formats"),  # from annotation files to batches
    ("build", "runs", "weights"),  # from settings to objects; runs and weights on disk
    ("inference", "evaluation", "serving"),  # using a detector
    ("tensorboard", "inspect"),  # logs and inspection
    ("training", "export", "reproduce", "report", "benchmarks", "integrations", "fit", "tune"),  # complete jobs
    ("cli", "__main__"),
)
ORDER = [package for row in LAYERS for package in row]
# The modules that read settings; all others take arguments with names and defaults.
KNOWS_SETTINGS = {
    "benchmarks.cost",
    "benchmarks.detect",
    "benchmarks.evaluate",
    "benchmarks.export",
    "benchmarks.input",
    "benchmarks.train",
    "benchmarks.video",
    "build",
    "cli.benchmark",
    "cli.export",
    "cli.options",
    "cli.train",
    "cli.weights",
    "evaluation.evaluate_run",
    "fit.run",
    "inspect.show",
    "integrations.ray_train",
    "report.contents",
    "report.published_results",
    "reproduce.plan",
    "reproduce.run",
    "runs.checkpoint",
    "runs.resume",
    "runs.run_folder",
    "training.build",
    "training.choose_batch",
    "training.replay",
    "training.run",
    "training.teacher",
    "tune.run",
    "tune.space",
    "tune.trial_process",
    "weights.convert",
    "weights.exported",
    "weights.pretrained",
}
# Imported before settings are checked, so without TensorFlow.
WITHOUT_TENSORFLOW = (
    "boxes",
    "cli",
    "config",
    "data.coco",
    "data.shapes",
    "doctor.check",
    "doctor.fix",
    "doctor.quick",
    "doctor.report",
    "evaluation.evaluate_run",
    "export.forms",
    "fit.run",
    "formats.convert",
    "inference.bulk.job",
    "inference.detections",
    "inference.detections_json",
    "inference.draw",
    "inference.exported_model",
    "inference.image_files",
    "inference.image_like",
    "inference.onnx_metadata",
    "inference.onnx_predictor",
    "inference.predict_images",
    "inference.save.crops",
    "inference.save.formats",
    "inference.tflite_metadata",
    "inference.tflite_predictor",
    "inference.tiling",
    "inference.video.annotate",
    "inspect.microscope",
    "inspect.target_ceiling",
    "inspect.target_stats",
    "methods.targets",
    "progress",
    "report.error_types",
    "report.evaluated_images",
    "reproduce.cells",
    "reproduce.figure4",
    "reproduce.plan",
    "reproduce.plots",
    "reproduce.results",
    "reproduce.run",
    "reproduce.tables",
    "runs.run_folder",
    "serving.responses",
    "serving.rest_client",
    "serving.send_images",
    "serving.verify",
    "tensorboard.events",
    "training.tracking",
    "tune.run",
    "weights.files",
)
# No longer developed, or extras: imported when they are used.
IMPORTED_WHEN_USED = (
    *("tensorflow_addons", "keras_cv", "tensorflow_serving", "apache_beam", "ray", "pyspark", "pyarrow"),
    *("onnx", "onnxruntime", "openvino", "tf2onnx"),
    *("pillow_heif", "supervision", "sahi"),
    *("mlflow", "wandb", "optuna"),
)
# Each of these is about one such package, and is itself imported when that is used.
ABOUT_ONE_PACKAGE = (*(f"integrations.{name}" for name in ("beam", "ray_data", "ray_train", "sahi", "spark")), "tune.optuna_study")


def _name(path):
    parts = path.relative_to(ROOT / "ttfnet_tf").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {_name(path): path for path in sorted((ROOT / "ttfnet_tf").rglob("*.py")) if _name(path)}


def _imports(path):
    """Modules of this package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: use absolute imports"
            continue
        for name in names:
            inner = name.removeprefix("ttfnet_tf.")
            if inner not in (name, "__version__"):
                yield inner if inner in MODULES else inner.rpartition(".")[0]


def _package(module):
    return module.partition(".")[0]


def _loaded_after(statement):
    code = f"{statement}; import sys; print(*sorted(name for name in sys.modules if '.' not in name))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()


def test_every_package_has_a_place():
    assert {_package(module) for module in MODULES} == set(ORDER)


def test_imports_point_to_what_stands_before():
    imports = [(module, used) for module, path in MODULES.items() for used in _imports(path)]
    assert imports
    wrong = [
        f"{module} imports {used}"
        for module, used in imports
        if _package(module) != _package(used) and ORDER.index(_package(used)) > ORDER.index(_package(module))
    ]
    assert wrong == []


def test_modules_of_a_package_form_no_circle():
    waiting = {module: {used for used in _imports(path) if used != module} for module, path in MODULES.items()}
    while free := {module for module, used in waiting.items() if not used & set(waiting)}:
        waiting = {module: used for module, used in waiting.items() if module not in free}
    assert waiting == {}


def test_settings_stop_where_objects_are_built():
    importers = {module for module, path in MODULES.items() if "config" in map(_package, _imports(path))}
    assert {module for module in importers if _package(module) != "config"} == KNOWS_SETTINGS


def test_checking_arguments_and_settings_does_not_import_tensorflow():
    loaded = _loaded_after("; ".join(f"import ttfnet_tf.{module}" for module in WITHOUT_TENSORFLOW))
    assert "numpy" in loaded  # the list is one of modules
    assert "tensorflow" not in loaded


def test_keras_comes_from_keras2_alone():
    """`tf.keras` is Keras 3 on newer versions of TensorFlow, where our layers are Keras 2's."""
    wrong = []
    for path in [*(ROOT / "ttfnet_tf").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                names = [ast.unparse(node)] if isinstance(node, ast.Attribute) else []
            if any(re.match(r"(tf\.keras|tensorflow\.keras|tf_keras|keras)$|(tensorflow\.keras|tf_keras)\.", name) for name in names):
                wrong.append(path.relative_to(ROOT).as_posix())
    assert set(wrong) == {"ttfnet_tf/keras2.py"}


@pytest.mark.slow
def test_packages_that_some_users_lack_are_imported_when_used():
    loaded = _loaded_after("; ".join(f"import ttfnet_tf.{module}" for module in MODULES if module not in ("__main__", *ABOUT_ONE_PACKAGE)))
    assert "tensorflow" in loaded
    assert [name for name in IMPORTED_WHEN_USED if name in loaded] == []


def test_autograph_converts_no_function():
    """It takes a tenth of a second for each function; control flow that depends on tensors is written as `tf.while_loop` or `tf.cond`."""
    for module, path in MODULES.items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        plain = [call.func for call in nodes if isinstance(call, ast.Call) and any(key.arg == "autograph" for key in call.keywords)]
        wrong = [n.lineno for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n) == "tf.function" and n not in plain]
        assert not wrong, f"{module}, line {wrong[0]}: tf.function without autograph=False"
