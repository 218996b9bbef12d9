"""Imports inside the package point one way: from later stages to earlier ones."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Earliest first. A module may import from strictly earlier rows only.
LAYERS = (
    {
        "errors",
        "boxes",
        "draw",
        "progress",
        "overlap",
        "doctor.findings",
        "matches",
        "watch.clock",
        "watch.page",
        "watch.profiler",
        "report.scenes",
        "deform_conv",
        "upsample",
        "batch_norm",
        "initializers",
        "targets",
        "losses",
        "decode",
        "optim",
        "serving.load",
        "sentinel",
    },
    {
        "config",
        "files",
        "detections",
        "cli.parser",
        "devices",
        "backbones.convolution",
        "data.coco",
        "data.pictures",
        "data.transforms",
        "data.affine",
        "data.shapes",
        "data.coco_classes",
        "weights.safetensors",
        "weights.names",
        "optimizers",
        "reproduce.cells",
        "doctor.annotations",
        "report.confusion",
        "report.error_types",
        "export.pictures",
        "export.warmup",
        "serving.target",
        "export.differences",
        "export.task_metadata",
        "export.tflite_graph",
        "watch.events",
        "watch.panels",
    },
    {
        "targets_tf",
        "data.augment",
        "inference",
        "heads",
        "neck",
        "backbones.resnet",
        "backbones.darknet",
        "backbones.dla",
        "backbones.keras_cv",
        "parameters",
        "weights.files",
        "weights.download",
        "run_folder",
        "predict",
        "video",
        "reproduce.plan",
        "doctor.pictures",
        "doctor.quick",
        "serving.rest",
        "serving.grpc_client",
        "serving.answers",
        "report.classes",
        "report.data_summary",
        "report.pictures",
        "export.tflite_metadata",
    },
    {
        "methods",
        "backbones",
        "weights.load",
        "reproduce.run",
        "reproduce.plots",
        "formats.records",
        "doctor.leaks",
        "export.tflite_predictor",
        "report.figures",
        "serving.ask",
        "serving.verify",
    },
    {
        "reproduce.results",
        "step",
        "export.load",
        "data.pipeline",
        "model",
        "cost",
        "centernet",
        "formats.voc",
        "formats.yolo",
        "formats.csv_boxes",
        "formats.coco_files",
        "doctor.check",
    },
    {"evaluate", "formats.convert", "doctor.report", "doctor.fix"},
    {"build", "data.stats", "watch.run_log", "report.analysis"},
    {"checkpoint", "watch.microscope"},
    {"evaluator", "benchmark", "weights.convert", "export.card", "export.timing", "watch.show", "watch.run_pictures", "measure", "replay"},
    {"divergence"},
    {"train", "cli.weights", "cli.data", "export.saved_model", "export.tflite", "export.matrix", "report.record"},
    {"detector", "export.benchmark", "report.published"},
    {"benchmark_video"},
    {"report.remarks", "report.page"},
    {"report.write"},
    {"cli.report", "cli.export", "cli.serving", "cli.runs", "cli.replay", "cli.predict", "cli.benchmark", "cli.reproduce"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Settings stop here: everything else takes arguments with names and defaults.
KNOWS_SETTINGS = {
    "reproduce.plan",
    "reproduce.run",
    "run_folder",
    "build",
    "checkpoint",
    "evaluator",
    "benchmark",
    "export.benchmark",
    "measure",
    "report.published",
    "report.write",
    "benchmark_video",
    "weights.convert",
    "replay",
    "divergence",
    "train",
    "watch.show",
    "cli.weights",
    "cli.data",
    "cli.export",
    "cli.runs",
    "cli.predict",
    "cli.benchmark",
}
# What may be imported before settings are checked.
WITHOUT_TENSORFLOW = (
    "cli",
    "cli.export",
    "cli.serving",
    "cli.replay",
    "cli.predict",
    "config",
    "export.load",
    "export.tflite_metadata",
    "export.tflite_predictor",
    "run_folder",
    "predict",
    "detections",
    "video",
    "progress",
    "draw",
    "boxes",
    "targets",
    "data.coco",
    "data.shapes",
    "data.stats",
    "doctor.check",
    "doctor.fix",
    "doctor.report",
    "doctor.quick",
    "formats.convert",
    "reproduce.cells",
    "reproduce.plan",
    "reproduce.run",
    "reproduce.results",
    "reproduce.plots",
    "cli.reproduce",
    "watch.microscope",
    "watch.events",
    "cli.report",
    "measure",
    "report.scenes",
    "report.error_types",
    "serving.rest",
    "serving.ask",
    "serving.answers",
    "serving.verify",
)
# No longer developed, or an extra: imported when they are used.
IMPORTED_WHEN_USED = ("tensorflow_addons", "keras_cv", "tensorflow_serving")


def _name(path):
    parts = path.relative_to(ROOT / "ttfnet_tf").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imports(path):
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
                yield max((m for m in RANK if inner == m or inner.startswith(m + ".")), key=len, default=inner)


def _modules():
    packages = ("", "data", "formats", "weights", "export", "doctor", "watch", "report", "serving", "reproduce")
    return {_name(path): path for path in sorted((ROOT / "ttfnet_tf").rglob("*.py")) if _name(path) not in packages}


def _loaded_after(statement):
    code = f"{statement}; import sys; print(*sorted(name for name in sys.modules if '.' not in name))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()


def test_every_module_has_a_layer():
    assert set(_modules()) == set(RANK)


def test_imports_point_to_earlier_layers():
    wrong = [f"{m} imports {i}" for m, p in _modules().items() for i in _imports(p) if RANK[i] >= RANK[m]]
    assert wrong == []


def test_settings_stop_where_objects_are_built():
    assert {module for module, path in _modules().items() if "config" in set(_imports(path))} == KNOWS_SETTINGS


def test_checking_arguments_and_settings_does_not_import_tensorflow():
    loaded = _loaded_after("; ".join(f"import ttfnet_tf.{module}" for module in WITHOUT_TENSORFLOW))
    assert "numpy" in loaded  # the list is one of modules
    assert "tensorflow" not in loaded


@pytest.mark.slow
def test_packages_that_some_users_lack_are_imported_when_used():
    loaded = _loaded_after("; ".join(f"import ttfnet_tf.{module}" for module in _modules()))
    assert "tensorflow" in loaded
    assert [name for name in IMPORTED_WHEN_USED if name in loaded] == []
