"""Curves in MLflow and Weights & Biases: what is sent, once, to one run, with a stand-in; with the packages themselves where they are."""

import json

import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.training.tracking import FILE, Tracking

SETTINGS = {"train.seed": 0, "data.image_size": [64, 64], "model.pretrained": None}


class Service:
    """Keeps what it gets, as a server would between two processes."""

    def __init__(self):
        self.runs, self.fails = {}, False

    def begin(self, run_id, name, settings):
        run_id = run_id or f"run{len(self.runs)}"
        self.run = self.runs.setdefault(run_id, {"name": name, "settings": settings, "rows": [], "status": None})
        self.run["status"] = "RUNNING"
        return run_id, {group: max((step for g, step, _ in self.run["rows"] if g == group), default=-1) for group in ("train", "eval")}

    def log(self, group, step, values):
        if self.fails:
            raise OSError("server is gone\nand more lines.")
        self.run["rows"].append((group, step, values))

    def end(self, status):
        self.run["status"] = status


def test_a_run_that_resumes_goes_on_in_its_run_and_sends_no_step_twice(tmp_path):
    service, said = Service(), []
    first = Tracking("mlflow", tmp_path, service)
    first.begin(SETTINGS, said.append)
    first.scalars("train", 10, {"loss/total": 3.0})
    first.scalars("train", 20, {"loss/total": 2.0})  # killed before the evaluation of step 20
    second = Tracking("mlflow", tmp_path, service)
    second.begin(SETTINGS, said.append)
    second.scalars("train", 20, {"loss/total": 2.0})
    second.scalars("eval", 20, {"coco/AP": 0.25})
    second.scalars("train", 30, {"loss/total": 1.0})
    second.end("FINISHED")
    assert list(service.runs) == ["run0"]
    assert service.run["rows"] == [
        ("train", 10, {"train/loss/total": 3.0}),
        ("train", 20, {"train/loss/total": 2.0}),
        ("eval", 20, {"eval/coco/AP": 0.25}),
        ("train", 30, {"train/loss/total": 1.0}),
        ("final", 20, {"final/AP": 0.25}),
    ]
    assert service.run["settings"] == {"train.seed": "0", "data.image_size": "[64, 64]", "model.pretrained": "None"}
    assert (service.run["name"], service.run["status"], said) == (tmp_path.name, "FINISHED", [])
    assert json.loads((tmp_path / FILE).read_text()) == {"mlflow": "run0"}


def test_a_stopped_run_has_no_final_ap(tmp_path):
    service = Service()
    tracking = Tracking("wandb", tmp_path, service)
    tracking.begin(SETTINGS, print)
    tracking.scalars("eval", 5, {"coco/AP": 0.25})
    tracking.end("KILLED")
    assert (service.run["rows"], service.run["status"]) == ([("eval", 5, {"eval/coco/AP": 0.25})], "KILLED")


def test_steps_after_a_rollback_are_sent_again(tmp_path):
    service = Service()
    for value in (3.0, 2.0):
        tracking = Tracking("mlflow", tmp_path, service)
        tracking.begin(SETTINGS, print)
        tracking.scalars("train", 10, {"lr": value})
    tracking.go_back()
    tracking.scalars("train", 10, {"lr": 1.0})
    assert [values["train/lr"] for _, _, values in service.run["rows"]] == [3.0, 1.0]


def test_a_service_that_fails_later_costs_one_line(tmp_path):
    service, said = Service(), []
    tracking = Tracking("mlflow", tmp_path, service)
    tracking.begin(SETTINGS, said.append)
    service.fails = True
    tracking.scalars("train", 10, {"lr": 1.0})
    tracking.scalars("train", 20, {"lr": 1.0})
    tracking.end("FINISHED")
    assert said == ["note: MLflow failed (server is gone); this run logs nothing more there"]


def test_a_service_that_cannot_begin_stops_the_run_before_its_first_step(tmp_path):
    service = Service()
    service.begin = lambda *_: 1 / 0
    with pytest.raises(UserError, match=r"^train.log_to=mlflow: MLflow cannot be used \(division by zero\)$"):
        Tracking("mlflow", tmp_path, service).begin(SETTINGS, print)


def test_a_damaged_file_of_ids_begins_a_new_run(tmp_path):
    (tmp_path / FILE).write_text("[1")
    service = Service()
    Tracking("mlflow", tmp_path, service).begin(SETTINGS, print)
    assert json.loads((tmp_path / FILE).read_text()) == {"mlflow": "run0"}


def test_names_of_classes_become_names_of_curves(tmp_path):
    service = Service()
    tracking = Tracking("mlflow", tmp_path, service)
    tracking.begin(SETTINGS, print)
    tracking.scalars("eval", 1, {"coco_class/a/b (id 3)": 0.5, "coco/AP50": 0.5})
    assert list(service.run["rows"][0][2]) == ["eval/coco_class/a_b _id 3_", "eval/coco/AP50"]


def test_mlflow_with_a_file_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # asked for since MLflow 3
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    settings = {f"train.setting_{number}": number for number in range(130)}  # more than one request takes
    for first in (0, 1):
        tracking = Tracking("mlflow", tmp_path, None)
        tracking.begin(settings, pytest.fail)
        for step in (10 * first + 1, 10 * first + 11):
            tracking.scalars("train", step, {"lr": float(step)})
        tracking.end("FINISHED" if first else "KILLED")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("ttfnet").experiment_id])
    assert (run.info.status, run.info.run_name, len(run.data.params)) == ("FINISHED", tmp_path.name, 130)
    history = client.get_metric_history(run.info.run_id, "train/lr")
    assert sorted((one.step, one.value) for one in history) == [(1, 1.0), (11, 11.0), (21, 21.0)]


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for status in ("KILLED", "FINISHED"):
        tracking = Tracking("wandb", tmp_path, None)
        tracking.begin(SETTINGS, pytest.fail)
        tracking.scalars("train", 10, {"lr": 0.5})
        tracking.end(status)
    identity = json.loads((tmp_path / FILE).read_text())["wandb"]
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {file.name for file in files} == {f"run-{identity}.wandb"}
    assert all(file.stat().st_size for file in files)
