"""The files in deploy/ against the messages that TensorFlow Serving reads them into, and against each other."""

import re

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

# The fields of the two messages that tensorflow-serving-api leaves out, with their numbers. Reference: tensorflow/serving 2.15,
# `config/monitoring_config.proto` and `servables/tensorflow/session_bundle_config.proto` (the fields that are no threads' names).
NUMBER = f".{wrappers_pb2.Int64Value.DESCRIPTOR.full_name}"
MESSAGES = {
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, ".deploy.PrometheusConfig")],
    "BatchingParameters": [
        ("max_batch_size", 1, NUMBER),
        ("batch_timeout_micros", 2, NUMBER),
        ("max_enqueued_batches", 3, NUMBER),
        ("num_batch_threads", 4, NUMBER),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
    ],
}
# Flags of `model_servers/main.cc` that these files use.
FLAGS = {
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "monitoring_config_file",
    "rest_api_timeout_in_ms",
    "enable_batching",
    "batching_parameters_file",
}


@pytest.fixture(scope="module")
def deploy(root):
    return root / "deploy"


@pytest.fixture(scope="module")
def parse(deploy):
    """parse("monitoring.config", "MonitoringConfig") -> message; an unknown field is an error."""
    file = descriptor_pb2.FileDescriptorProto(
        name="deploy.proto", package="deploy", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            one = message.field.add(name=field, number=number, label=3 if kind.startswith("repeated") else 1)
            if kind.startswith("."):
                one.type, one.type_name = 11, kind
            else:
                one.type = {"bool": 8, "string": 9, "int64": 3}[kind.removeprefix("repeated ")]
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)

    def read(name, kind):
        # protobuf before 4.22, which Python 3.10 gets, has no GetMessageClass.
        class_of = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
        message = class_of(pool.FindMessageTypeByName(f"deploy.{kind}"))()
        return text_format.Parse((deploy / "config" / name).read_text(), message)

    return read


@pytest.fixture(scope="module")
def compose(deploy):
    return yaml.safe_load((deploy / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def models(deploy):
    config = text_format.Parse((deploy / "config/models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    return config.model_config_list.config


def _flags(service):
    return dict(re.fullmatch(r"--(\w+)=(\S+)", flag).groups() for flag in service["command"])


def test_labels_stand_at_versions_that_are_served(models):
    [model] = models
    assert (model.name, model.base_path, model.model_platform) == ("mine", "/models/mine", "tensorflow")
    assert set(model.version_labels) == {"stable", "canary"}
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


def test_batches(parse):
    batching = parse("batching.config", "BatchingParameters")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value
    assert sizes[0] == 1  # a single image is not computed twice
    assert batching.num_batch_threads.value >= 1
    assert batching.max_enqueued_batches.value >= batching.num_batch_threads.value
    assert 0 < batching.batch_timeout_micros.value <= 20_000
    assert not batching.pad_variable_length_inputs  # would put black around images


def test_fields_that_the_server_does_not_know_are_seen(parse, deploy, tmp_path):
    text = (deploy / "config/batching.config").read_text().replace("num_batch_threads", "batch_threads")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/batching.config").write_text(text)
    with pytest.raises(text_format.ParseError, match="batch_threads"):
        parse(tmp_path / "config/batching.config", "BatchingParameters")


def test_prometheus_reads_the_page_that_the_server_has(parse, deploy, compose):
    monitoring = parse("monitoring.config", "MonitoringConfig")
    assert monitoring.prometheus_config.enable
    [job] = yaml.safe_load((deploy / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == monitoring.prometheus_config.path
    [target] = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert service in compose["services"]
    assert port == "8501"  # the image's REST port, on which the page is


def test_ports_are_those_of_the_client_on_this_machine_only(compose):
    from ttfnet_tf.serving.target import PORTS

    ports = compose["services"]["serving"]["ports"]
    assert ports == [f"127.0.0.1:{port}:{port}" for port in PORTS.values()]
    assert all(port.startswith("127.0.0.1:") for service in compose["services"].values() for port in service["ports"])


def test_flags_name_files_that_are_mounted(compose, deploy):
    serving = compose["services"]["serving"]
    flags = _flags(serving)
    assert set(flags) <= FLAGS
    folders = dict(volume.rsplit(":", 2)[1::-1] for volume in serving["volumes"])
    assert (deploy / folders["/config"]).resolve() == deploy / "config"
    for name, value in flags.items():
        if name.endswith("_file"):
            assert (deploy / "config" / value.removeprefix("/config/")).is_file(), name
    assert folders["/models"] == "${MODELS:-../models}"


def test_batching_adds_two_flags(compose, deploy):
    batching = yaml.safe_load((deploy / "docker-compose.batching.yml").read_text())["services"]["serving"]
    assert set(batching) == {"command"}
    added = {"enable_batching": "true", "batching_parameters_file": "/config/batching.config"}
    assert _flags(batching) == {**_flags(compose["services"]["serving"]), **added}
    assert set(added) <= FLAGS
    assert (deploy / "config/batching.config").is_file()


def test_server_and_client_are_of_one_version(compose, root):
    required = re.findall(r'tensorflow-serving-api==([^;\s]+); python_version < "3.12"', (root / "setup.cfg").read_text())
    assert required
    assert {compose["services"]["serving"]["image"]} == {f"tensorflow/serving:{version}" for version in required}


def test_the_health_check_asks_about_the_model_that_is_served(compose, models):
    command = compose["services"]["serving"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "bash", "-c"]
    assert f"/v1/models/{models[0].name} " in command[3]
