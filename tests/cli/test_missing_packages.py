"""A command that needs a package which is not installed says in one line how to install it, and ends with exit code 2."""

import sys

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli

CASES = {
    "s3fs": (
        "train configs/demo.yaml --work-dir s3://bucket/run",
        "s3://bucket/run: needs s3fs, which is not installed; pip install 'ttfnet-tf[s3]'",
    ),
    "gcsfs": (
        "evaluate gs://bucket/run",
        "gs://bucket/run: needs gcsfs, which is not installed; pip install 'ttfnet-tf[gs]'",
    ),
    "mlflow": (
        "train configs/demo.yaml --work-dir {tmp}/run train.log_to=mlflow",
        "train.log_to=mlflow: needs mlflow, which is not installed; pip install 'ttfnet-tf[mlflow]'",
    ),
    "wandb": (
        "train configs/demo.yaml --work-dir {tmp}/run train.log_to=wandb",
        "train.log_to=wandb: needs wandb, which is not installed; pip install 'ttfnet-tf[wandb]'",
    ),
    "optuna": (
        "tune {tmp}/a.png --work-dir {tmp}/study",
        "tune: needs optuna, which is not installed; pip install 'ttfnet-tf[tune]'",
    ),
    "keras_cv": (
        "benchmark size configs/demo.yaml model.backbone=keras_cv/csp_darknet_s",
        "model.backbone=keras_cv/...: needs keras_cv, which is not installed; pip install 'keras-cv>=0.9,<0.10'",
    ),
    "torch": (
        "weights {tmp}/a.pth --config configs/demo.yaml --out {tmp}/a.npz",
        "{tmp}/a.pth: needs PyTorch, which is not installed; pip install 'ttfnet-tf[torch]', or use an .npz file",
    ),
    "tensorflow_serving.apis": (
        "serve-client mine {tmp}/a.png",
        "gRPC needs tensorflow_serving.apis, which is not installed: pip install 'ttfnet-tf[serving]', or use --protocol rest",
    ),
    "ai_edge_litert.interpreter": (
        "benchmark export configs/demo.yaml --runtime litert",
        "runtime litert: ai-edge-litert is not installed; pip install ai-edge-litert",
    ),
    "apache_beam": (
        "predict {tmp}/m.tflite {tmp}/a.png --out {tmp}/out --runner beam",
        "--runner beam: needs apache_beam, which is not installed; pip install 'ttfnet-tf[beam]'",
    ),
    "ray.data": (
        "predict {tmp}/m.tflite {tmp}/a.png --out {tmp}/out --runner ray",
        "--runner ray: needs ray.data, which is not installed; pip install 'ttfnet-tf[ray]'",
    ),
    "pyspark.sql": (
        "predict {tmp}/m.tflite {tmp}/a.png --out {tmp}/out --runner spark",
        "--runner spark: needs pyspark.sql, which is not installed; pip install 'ttfnet-tf[spark]'",
    ),
    "supervision": (
        "predict {tmp}/m.tflite {tmp}/a.mp4 --out {tmp}/out --track",
        "--track: needs supervision 0.30, which is not installed; pip install 'ttfnet-tf[track]'",
    ),
    "pyarrow": (
        "predict {tmp}/m.tflite {tmp}/a.png --out {tmp}/out --runner local --format parquet",
        "--format parquet: needs pyarrow, which is not installed; pip install 'ttfnet-tf[parquet]'",
    ),
}


@pytest.mark.parametrize("package", CASES)
def test_one_line_names_the_command(package, tmp_path, monkeypatch, capsys, root):
    command, line = (text.format(tmp=tmp_path) for text in CASES[package])
    (tmp_path / "a.pth").write_bytes(b"PK")
    Image.fromarray(np.zeros([8, 8, 3], np.uint8)).save(tmp_path / "a.png")
    monkeypatch.chdir(root)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(command.split()) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"ttfnet: {line}"
