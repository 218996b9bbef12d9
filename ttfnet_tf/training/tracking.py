"""The curves of TensorBoard, settings and final AP in MLflow or Weights & Biases: `train.log_to`.

Where they go is up to their own variables, such as MLFLOW_TRACKING_URI and WANDB_MODE. `tracking.json` in the work directory holds the id
of the run there, which a run that resumes continues: steps that are there already are not sent again. Both packages are extras, imported
when a run uses them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.json_text import read_json

FILE = "tracking.json"
_PROJECT = "ttfnet"  # experiment of MLflow and project of Weights & Biases, unless their variables name another
_MOST = 90  # parameters or metrics in one request; MLflow takes 100 parameters
_LONGEST = 500  # characters of a parameter
_IN_EVERY_LINE = {"train": "train/lr", "eval": "eval/coco/AP"}
_NAMES = {"mlflow": "MLflow", "wandb": "Weights & Biases"}


def refuse_missing(name: str) -> None:
    """Refuses a package that is not installed.

    Raises:
        UserError: says how to install it.
    """
    if name == "none":
        return
    if name in sys.modules:
        is_there = sys.modules[name] is not None
    else:
        is_there = importlib.util.find_spec(name) is not None
    if not is_there:
        raise UserError(f"train.log_to={name}: needs {name}, which is not installed; pip install 'ttfnet-tf[{name}]'")


class Service(Protocol):
    """What keeps the curves of a run."""

    def begin(self, run_id: str | None, name: str, settings: Mapping[str, str]) -> tuple[str, dict[str, int]]:
        """Begins a run or continues the one of an id; returns its id, and {group of values: last step that it has}."""
        ...

    def log(self, group: str, step: int, values: Mapping[str, float]) -> None: ...

    def end(self, status: str) -> None:
        """`status` is FINISHED, KILLED (stopped, to be resumed) or FAILED."""
        ...


class Tracking:
    """The run of one of the services. A service that fails during training costs a line, and not the training.

    Args:
        name: "mlflow" or "wandb".
        folder: the work directory.
        service: stands in for the real one in tests.
    """

    def __init__(self, name: str, folder: Path, service: Service | None = None):
        self._name, self._folder = name, folder
        self._service = service
        self._say: Callable[[str], object] = print
        self._last_steps: dict[str, int] = {}  # there already, by group
        self._is_open = False
        self._last_ap: tuple[int, float] | None = None

    def begin(self, settings: Mapping[str, Any], say: Callable[[str], object]) -> None:
        """Opens the run.

        Args:
            settings: of the run, with dotted keys; stored when it begins.
            say: prints a line.

        Raises:
            UserError: the service cannot be reached or refuses the run.
        """
        self._say = say
        ids = _read_ids(self._folder / FILE)
        try:
            if self._service is None:
                self._service = _MLflow() if self._name == "mlflow" else _Wandb()
            texts = {key: str(value)[:_LONGEST] for key, value in settings.items()}
            run_id, self._last_steps = self._service.begin(ids.get(self._name), self._folder.name, texts)
        except Exception as error:
            raise UserError(f"train.log_to={self._name}: {_NAMES[self._name]} cannot be used ({_first_line(error)})") from None
        self._is_open = True
        if ids.get(self._name) != run_id:
            write_json(self._folder / FILE, {**ids, self._name: run_id})

    def scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Logs what TensorBoard gets under `group` at `step`."""
        if "coco/AP" in values:
            self._last_ap = step, values["coco/AP"]
        if step > self._last_steps.get(group, -1):
            named = {_metric_name(f"{group}/{name}"): float(value) for name, value in values.items()}
            self._call(lambda service: service.log(group, step, named))

    def go_back(self) -> None:
        """Sends steps again that a run which was rolled back computes anew."""
        self._last_steps = {}

    def end(self, status: str) -> None:
        """Closes the run; with `final/AP`, that of the last evaluation, if it is finished."""
        if status == "FINISHED" and self._last_ap is not None:
            step, value = self._last_ap
            self._call(lambda service: service.log("final", step, {"final/AP": value}))
        self._call(lambda service: service.end(status))
        self._is_open = False

    def _call(self, function: Callable[[Service], object]) -> None:
        if not self._is_open or self._service is None:
            return
        try:
            function(self._service)
        except Exception as error:
            self._is_open = False
            self._say(f"note: {_NAMES[self._name]} failed ({_first_line(error)}); this run logs nothing more there")


class _MLflow:
    """A run of MLflow, through its client alone: no global state."""

    def __init__(self) -> None:
        from mlflow import MlflowClient

        self._client, self._run_id = MlflowClient(), ""

    def begin(self, run_id: str | None, name: str, settings: Mapping[str, str]) -> tuple[str, dict[str, int]]:
        from mlflow.entities import Param

        client = self._client
        if run_id is not None:
            self._run_id = run_id
            client.update_run(run_id, status="RUNNING")
            histories = {group: client.get_metric_history(run_id, key) for group, key in _IN_EVERY_LINE.items()}
            return run_id, {group: max((one.step for one in history), default=-1) for group, history in histories.items()}
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        known = client.get_experiment_by_name(experiment)
        self._run_id = client.create_run(known.experiment_id if known else client.create_experiment(experiment), run_name=name).info.run_id
        params = [Param(key, value) for key, value in settings.items()]
        for start in range(0, len(params), _MOST):
            client.log_batch(self._run_id, params=params[start : start + _MOST])
        return self._run_id, {}

    def log(self, group: str, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(key, value, now, step) for key, value in values.items()]
        for start in range(0, len(metrics), _MOST):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + _MOST])

    def end(self, status: str) -> None:
        self._client.set_terminated(self._run_id, status)


class _Wandb:
    """A run of Weights & Biases; its curves are drawn over "step"."""

    def begin(self, run_id: str | None, name: str, settings: Mapping[str, str]) -> tuple[str, dict[str, int]]:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=run_id,
            resume="allow" if run_id else None,
            name=name,
            config=dict(settings),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="step")
        summary = dict(self._run.summary) if run_id else {}
        return self._run.id, {group: int(summary.get(f"{group}/step", -1)) for group in ("train", "eval")}

    def log(self, group: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, f"{group}/step": step, **values})

    def end(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)


def _metric_name(name: str) -> str:
    """A name that MLflow takes: class names may hold anything, and a slash in them would be a folder."""
    *groups, last = name.split("/", 2) if name.count("/") > 1 else [name]
    return "/".join([*groups, re.sub(r"[^\w\-. ]" if groups else r"[^\w\-. /]", "_", last)])


def _read_ids(file: Path) -> dict[str, str]:
    """{service: id of the run}; a damaged file begins new runs there."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)} if isinstance(content, dict) else {}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
