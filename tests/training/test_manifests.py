"""The files that start several workers: hosts, numbers and commands agree, and Kubernetes' own models know every key."""

import re
import shlex
import subprocess

import pytest
import yaml

from ttfnet_tf import cli
from ttfnet_tf.training.cluster import find_cluster

FILES = ("train-job.yaml", "train-jobset.yaml")


def _documents(root, name):
    return {one["kind"]: one for one in yaml.safe_load_all((root / "deploy/kubernetes" / name).read_text())}


def _job(documents):
    return documents["Job"]["spec"] if "Job" in documents else documents["JobSet"]["spec"]["replicatedJobs"][0]["template"]["spec"]


def _pod(documents):
    return _job(documents)["template"]["spec"]


@pytest.mark.parametrize("name", FILES)
def test_every_pod_finds_itself_in_the_list(root, name):
    documents = _documents(root, name)
    job, [container] = _job(documents), _pod(documents)["containers"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == 2
    environment = {one["name"]: one["value"] for one in container["env"]}
    port = container["ports"][0]["containerPort"]
    if "Job" in documents:
        service = documents["Service"]
        subdomain = _pod(documents)["subdomain"]
        assert service["metadata"]["name"] == subdomain
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": documents["Job"]["metadata"]["name"]}
        assert service["spec"]["ports"][0]["port"] == port
        pods = documents["Job"]["metadata"]["name"]
    else:
        jobset = documents["JobSet"]
        subdomain = jobset["spec"]["network"]["subdomain"]
        pods = f"{jobset['metadata']['name']}-{jobset['spec']['replicatedJobs'][0]['name']}-0"
    for index in range(job["completions"]):
        cluster = find_cluster({**environment, "JOB_COMPLETION_INDEX": str(index)})
        assert cluster.workers[cluster.index] == f"{pods}-{index}.{subdomain}:{port}"
        assert len(cluster.workers) == job["completions"]


@pytest.mark.parametrize("name", FILES)
def test_the_command_parses(root, name):
    args = cli.parse(_pod(_documents(root, name))["containers"][0]["args"])
    assert "train.strategy=multi_worker" in args.rest


def test_the_script_for_slurm(root):
    script = root / "deploy/slurm-train.sbatch"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    [line] = [line for line in script.read_text().splitlines() if line.startswith("srun")]
    words = shlex.split(line.replace('"$@"', "configs/demo.yaml --work-dir runs/a"))
    assert cli.parse(words[words.index("ttfnet") + 1 :]).rest == ["train.strategy=multi_worker"]


def _refuse_unknown(content, kind, models, where):
    """Every key of a manifest is an attribute of the model of its kind, down to the leaves."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        for number, one in enumerate(content):
            _refuse_unknown(one, listed[1], models, f"{where}[{number}]")
    elif model := getattr(models, kind, None):
        assert isinstance(content, dict), where
        names = {key: attribute for attribute, key in model.attribute_map.items()}
        for key, value in content.items():
            assert key in names, f"{where}.{key}"
            _refuse_unknown(value, model.openapi_types[names[key]], models, f"{where}.{key}")
    elif kind in ("int", "bool", "str"):
        assert type(content).__name__ == kind, where


@pytest.mark.parametrize("name", FILES)
def test_kubernetes_knows_every_key(root, name):
    models = pytest.importorskip("kubernetes.client.models", reason="needs the package kubernetes")
    documents = _documents(root, name)
    for kind, document in documents.items():
        if kind == "JobSet":  # a kind of its own, about a Job
            _refuse_unknown(_job(documents), "V1JobSpec", models, "JobSet")
        else:
            _refuse_unknown(document, f"V1{kind}", models, kind)
    with pytest.raises(AssertionError, match=r"Job\.completionsMode"):
        _refuse_unknown({**_job(documents), "completionsMode": "Indexed"}, "V1JobSpec", models, "Job")
