"""The workers of a multi-worker run, from what starts them: TF_CONFIG, a list for Kubernetes and others, or Slurm.

Whatever it is becomes TF_CONFIG, which TensorFlow reads. Worker 0 is the chief. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import json_text, parse_json, short_json

_SEE = "see docs/distributed.md"
_PORTS = (20_000, 10_000)  # Slurm: first port, and how many jobs spread over; below those that Linux gives away by itself
_SLURM = ("SLURM_PROCID", "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")


@dataclass(frozen=True)
class Cluster:
    """The workers, and which of them this process is."""

    workers: tuple[str, ...]  # host:port of each
    index: int
    source: str  # what said so: "TF_CONFIG", "TTFNET_WORKERS" or "Slurm"

    def tf_config(self) -> str:
        """The value of TF_CONFIG."""
        return json_text({"cluster": {"worker": list(self.workers)}, "task": {"type": "worker", "index": self.index}})


def find_cluster(environment: Mapping[str, str]) -> Cluster:
    """The cluster of this process.

    Args:
        environment: variables; TF_CONFIG comes before TTFNET_WORKERS, and that before Slurm's.

    Raises:
        UserError: none of them is there, or one is wrong.
    """
    if "TF_CONFIG" in environment:
        cluster = _from_tf_config(environment["TF_CONFIG"])
    elif "TTFNET_WORKERS" in environment:
        cluster = _from_list(environment)
    elif "SLURM_JOB_ID" in environment:
        cluster = _from_slurm(environment)
    else:
        raise UserError(f"train.strategy=multi_worker needs TF_CONFIG, TTFNET_WORKERS or a start by Slurm's srun; {_SEE}")
    for address in cluster.workers:
        if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdecimal():
            raise UserError(f"{_needs(cluster.source)} with workers as host:port, found {short_json(address)}; {_SEE}")
    return cluster


def expand(text: str) -> list[str]:
    """Names from a list as Slurm writes it: "node[01-03,7],other" -> node01, node02, node03, node7, other.

    Raises:
        ValueError: a bracket or a range is wrong.
    """
    names = []
    if not re.fullmatch(r"(?:[^\[\]]|\[[^\[\]]+\])+", text):
        raise ValueError(f"no list of names: {text}")
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        parts = re.split(r"\[([^\]]*)\]", item.strip())
        choices = [[part] if position % 2 == 0 else _numbers(part) for position, part in enumerate(parts)]
        names += ["".join(choice) for choice in itertools.product(*choices)]
    return names


def _numbers(text: str) -> list[str]:
    """The inside of a bracket: "01-03,7" -> 01, 02, 03, 7."""
    numbers = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            last = first
        if int(last) < int(first):
            raise ValueError(f"a range that descends: {text}")
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers


def _from_tf_config(text: str) -> Cluster:
    try:
        cluster = parse_json(text)
        workers, task = cluster["cluster"]["worker"], cluster["task"]
        index = int(task["index"])
        if not isinstance(workers, list) or not isinstance(task, dict):
            raise TypeError
    except KeyError as error:
        raise UserError(f"{_needs('TF_CONFIG')}: {error} is not set; {_SEE}") from None
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{_needs('TF_CONFIG')} as JSON with cluster.worker and task.index; {_SEE}") from None
    for address in workers:
        if not isinstance(address, str):
            raise UserError(f"{_needs('TF_CONFIG')} with workers as host:port, found {short_json(address)}; {_SEE}")
    if task.get("type") != "worker" or not 0 <= index < len(workers):
        raise UserError(f"{_needs('TF_CONFIG')}: task {task} is not one of the {len(workers)} workers")
    return Cluster(tuple(workers), index, "TF_CONFIG")


def _from_list(environment: Mapping[str, str]) -> Cluster:
    """TTFNET_WORKERS=ttfnet-[0-3].ttfnet:12345, and which of them from TTFNET_WORKER_INDEX or a Kubernetes Job."""
    text = environment["TTFNET_WORKERS"]
    try:
        workers = tuple(expand(text))
    except ValueError:
        raise UserError(f"TTFNET_WORKERS={text}: must be a list such as ttfnet-[0-3].ttfnet:12345; {_SEE}") from None
    name = next((name for name in ("TTFNET_WORKER_INDEX", "JOB_COMPLETION_INDEX") if name in environment), None)
    if name is None:
        raise UserError(f"TTFNET_WORKERS needs TTFNET_WORKER_INDEX, or JOB_COMPLETION_INDEX of an indexed Job; {_SEE}")
    value = environment[name]
    if not value.isdecimal() or int(value) >= len(workers):
        raise UserError(f"{name}={value}: is not one of the {len(workers)} workers of TTFNET_WORKERS={text}; they count from 0")
    return Cluster(workers, int(value), "TTFNET_WORKERS")


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """The tasks of a job step, in the order of their nodes."""
    for name in _SLURM:
        if name not in environment:
            raise UserError(f"{_needs('Slurm')}: {name} is not set; start with srun, inside of sbatch too; {_SEE}")
    nodes_text, tasks_text = environment["SLURM_STEP_NODELIST"], environment["SLURM_STEP_TASKS_PER_NODE"]
    try:
        nodes, counts = expand(nodes_text), _tasks_per_node(tasks_text)
        index, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
        reserved = environment.get("SLURM_STEP_RESV_PORTS")
        first = int(re.split("[-,]", reserved)[0]) if reserved else _PORTS[0] + job % _PORTS[1]
        first = int(environment.get("TTFNET_PORT", first))
        if len(nodes) != len(counts):
            raise ValueError
    except ValueError:
        raise UserError(
            f"SLURM_STEP_NODELIST={nodes_text} and SLURM_STEP_TASKS_PER_NODE={tasks_text}: are no tasks on nodes, or SLURM_PROCID, "
            f"SLURM_JOB_ID or TTFNET_PORT is no number; {_SEE}"
        ) from None
    places = [(node, local) for node, count in zip(nodes, counts) for local in range(count)]
    if not 0 <= index < len(places) or int(environment.get("SLURM_LOCALID", places[index][1])) != places[index][1]:
        raise UserError(
            f"SLURM_PROCID={index}: is not where {len(places)} tasks in the order of {nodes_text} would have it; srun --distribution=block"
        )
    return Cluster(tuple(f"{node}:{first + local}" for node, local in places), index, "Slurm")


def _tasks_per_node(text: str) -> list[int]:
    """ "2(x3),1" -> 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not found:
            raise ValueError(f"no numbers of tasks: {text}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _needs(source: str) -> str:
    return f"train.strategy=multi_worker needs {source}"


def use(cluster: Cluster) -> None:
    """Sets TF_CONFIG for TensorFlow and for what this process starts."""
    os.environ["TF_CONFIG"] = cluster.tf_config()
