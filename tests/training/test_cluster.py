"""Which worker of which cluster a process is, by what has started it."""

import json

import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.training.cluster import expand, find_cluster

SLURM = {
    "SLURM_JOB_ID": "71234",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("node[1-3]", ["node1", "node2", "node3"]),
        ("node[08-10,2],other", ["node08", "node09", "node10", "node2", "other"]),
        ("r[1-2]n[1-2].x", ["r1n1.x", "r1n2.x", "r2n1.x", "r2n2.x"]),
        ("127.0.0.1:[5000-5001]", ["127.0.0.1:5000", "127.0.0.1:5001"]),
        ("a-[0-1].svc:12345, b:1", ["a-0.svc:12345", "a-1.svc:12345", "b:1"]),
    ],
)
def test_lists_of_names(text, names):
    assert expand(text) == names


@pytest.mark.parametrize("text", ["node[1-3]", "node[08-10,2],other", "a,b[3,5-6]"])
def test_lists_are_those_of_tensorflow(text):
    from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import expand_hostlist

    assert expand(text) == expand_hostlist(text)


@pytest.mark.parametrize("text", ["", "a[", "a[x]", "a[3-1]", "a[]", "a]"])
def test_wrong_lists(text):
    with pytest.raises(ValueError):
        expand(text)


def test_tf_config_as_it_is():
    text = json.dumps({"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}})
    cluster = find_cluster({"TF_CONFIG": text, "TTFNET_WORKERS": "c:3", **SLURM})
    assert (cluster.workers, cluster.index, cluster.source) == (("a:1", "b:2"), 1, "TF_CONFIG")
    assert cluster.tf_config() == text


def test_an_indexed_job():
    cluster = find_cluster({"TTFNET_WORKERS": "ttfnet-[0-2].ttfnet:12345", "JOB_COMPLETION_INDEX": "2"})
    assert cluster.workers == ("ttfnet-0.ttfnet:12345", "ttfnet-1.ttfnet:12345", "ttfnet-2.ttfnet:12345")
    assert (cluster.index, cluster.source) == (2, "TTFNET_WORKERS")
    assert json.loads(cluster.tf_config())["task"] == {"type": "worker", "index": 2}


def test_an_index_of_ones_own_comes_first():
    assert find_cluster({"TTFNET_WORKERS": "a:[1-3]", "TTFNET_WORKER_INDEX": "0", "JOB_COMPLETION_INDEX": "2"}).index == 0


def test_slurm_counts_tasks_by_node():
    cluster = find_cluster(SLURM)
    assert cluster.workers == ("gpu07:21234", "gpu07:21235", "gpu08:21234", "gpu08:21235")
    assert (cluster.index, cluster.source) == (2, "Slurm")
    others = {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "3,1", "SLURM_PROCID": "3"}
    assert find_cluster(others).workers == ("gpu07:21234", "gpu07:21235", "gpu07:21236", "gpu08:21234")


def test_ports_of_slurm():
    assert find_cluster({**SLURM, "SLURM_STEP_RESV_PORTS": "12000-12001"}).workers[1] == "gpu07:12001"
    assert find_cluster({**SLURM, "SLURM_STEP_RESV_PORTS": "12000-12001", "TTFNET_PORT": "400"}).workers[3] == "gpu08:401"


def _tf_config(workers, index="0", kind="worker"):
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": kind, "index": index}})}


NEEDS = "train.strategy=multi_worker needs"
WRONG = {
    "nothing": ({}, f"{NEEDS} TF_CONFIG, TTFNET_WORKERS or a start by Slurm's srun; see docs/distributed.md"),
    "no text": ({"TF_CONFIG": "{"}, f"{NEEDS} TF_CONFIG as JSON with cluster.worker and task.index; see docs/distributed.md"),
    "no task": ({"TF_CONFIG": '{"cluster": {"worker": []}}'}, f"{NEEDS} TF_CONFIG: 'task' is not set; see docs/distributed.md"),
    "no port": (_tf_config(["a"]), f'{NEEDS} TF_CONFIG with workers as host:port, found "a"; see docs/distributed.md'),
    "no host": (_tf_config([":1"]), f'{NEEDS} TF_CONFIG with workers as host:port, found ":1"; see docs/distributed.md'),
    "a number": (_tf_config([1]), f"{NEEDS} TF_CONFIG with workers as host:port, found 1; see docs/distributed.md"),
    "not a worker": (_tf_config(["a:1"], 1), f"{NEEDS} TF_CONFIG: task {{'type': 'worker', 'index': 1}} is not one of the 1 workers"),
    "no index": (
        {"TTFNET_WORKERS": "a:1"},
        "TTFNET_WORKERS needs TTFNET_WORKER_INDEX, or JOB_COMPLETION_INDEX of an indexed Job; see docs/distributed.md",
    ),
    "a bracket": (
        {"TTFNET_WORKERS": "a[:1", "TTFNET_WORKER_INDEX": "0"},
        "TTFNET_WORKERS=a[:1: must be a list such as ttfnet-[0-3].ttfnet:12345; see docs/distributed.md",
    ),
    "too many pods": (
        {"TTFNET_WORKERS": "a:[1-2]", "JOB_COMPLETION_INDEX": "2"},
        "JOB_COMPLETION_INDEX=2: is not one of the 2 workers of TTFNET_WORKERS=a:[1-2]; they count from 0",
    ),
    "a list without ports": (
        {"TTFNET_WORKERS": "a,b", "TTFNET_WORKER_INDEX": "0"},
        f'{NEEDS} TTFNET_WORKERS with workers as host:port, found "a"; see docs/distributed.md',
    ),
    "sbatch without srun": (
        {"SLURM_JOB_ID": "3", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "a"},
        f"{NEEDS} Slurm: SLURM_STEP_NODELIST is not set; start with srun, inside of sbatch too; see docs/distributed.md",
    ),
    "nodes without tasks": (
        {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2"},
        "SLURM_STEP_NODELIST=gpu[07-08] and SLURM_STEP_TASKS_PER_NODE=2: are no tasks on nodes, or SLURM_PROCID, SLURM_JOB_ID or "
        "TTFNET_PORT is no number; see docs/distributed.md",
    ),
    "a cyclic distribution": (
        {**SLURM, "SLURM_LOCALID": "1"},
        "SLURM_PROCID=2: is not where 4 tasks in the order of gpu[07-08] would have it; srun --distribution=block",
    ),
}


@pytest.mark.parametrize(("environment", "line"), WRONG.values(), ids=WRONG)
def test_one_line_says_what_is_wrong(environment, line):
    with pytest.raises(UserError) as error:
        find_cluster(environment)
    assert str(error.value) == line
