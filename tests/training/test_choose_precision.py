"""`train.precision: auto`: by the units of the processor and a measurement, by the capability of GPUs, and kept by a run that resumes."""

import types

import pytest
import tensorflow as tf

from ttfnet_tf import processor
from ttfnet_tf.config import Config, config_of
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training import choose_precision
from ttfnet_tf.training.devices import build_strategy

pytestmark = pytest.mark.own_processor

CPUINFO = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu sse4_2 avx512f {} avx512_vnni\n\nprocessor\t: 1\n"


@pytest.fixture
def strategy():
    return build_strategy("mirrored", ["cpu:0"])


@pytest.mark.parametrize(
    ("flags", "unit"), [("", None), ("avx512_bf16", "avx512_bf16"), ("avx512_bf16 amx_tile amx_bf16", "amx_bf16"), ("xavx512_bf16", None)]
)
def test_units_are_read_from_the_flags_of_the_processor(flags, unit, tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flags))
    assert processor.bfloat16_unit(tmp_path / "cpuinfo") == unit


def test_a_system_that_does_not_tell_has_no_units(tmp_path):
    assert processor.bfloat16_unit(tmp_path / "absent") is None
    (tmp_path / "cpuinfo").write_text("Hardware: ARM\n")
    assert processor.bfloat16_unit(tmp_path / "cpuinfo") is None


@pytest.mark.parametrize(
    ("fraction", "precision"), [(0.2, "mixed_bfloat16"), (0.75, "mixed_bfloat16"), (0.76, "float32"), (1.5, "float32")]
)
def test_a_processor_with_units_is_measured(fraction, precision, strategy, monkeypatch):
    monkeypatch.setattr(choose_precision, "bfloat16_unit", lambda: "amx_bf16")
    monkeypatch.setattr(choose_precision, "measure_bfloat16", lambda: fraction)
    found, line = choose_precision.choose_precision(strategy, agree=False)
    assert found == precision
    assert line == f"train.precision=auto: {precision} (amx_bf16: a convolution in bfloat16 takes {fraction:.2f} of its time in float32)"


def test_a_processor_without_units_is_not_measured(strategy, monkeypatch):
    monkeypatch.setattr(choose_precision, "bfloat16_unit", lambda: None)
    monkeypatch.setattr(choose_precision, "measure_bfloat16", lambda: pytest.fail("measured"))
    assert choose_precision.choose_precision(strategy, agree=False)[0] == "float32"
    assert choose_precision.hint(strategy) is None


@pytest.mark.slow
def test_the_measurement_is_a_fraction_of_processor_time():
    assert 0.01 < choose_precision.measure_bfloat16() < 100


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "float32"),
        ([(7, 0)], "float32"),
        ([None], "float32"),
        ([(10, 0)], "mixed_bfloat16"),
    ],
)
def test_gpus_by_the_oldest_of_them(capabilities, precision, monkeypatch):
    details = iter([{} if one is None else {"compute_capability": one} for one in capabilities])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * len(capabilities))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: next(details))
    strategy = types.SimpleNamespace(extended=types.SimpleNamespace(worker_devices=("/job:localhost/replica:0/task:0/device:GPU:0",)))
    assert choose_precision.choose_precision(strategy, agree=False)[0] == precision


def test_workers_that_disagree_take_float32(strategy, monkeypatch):
    monkeypatch.setattr(choose_precision, "bfloat16_unit", lambda: "amx_bf16")
    monkeypatch.setattr(choose_precision, "measure_bfloat16", lambda: 0.2)
    monkeypatch.setattr(choose_precision, "any_worker", lambda strategy: lambda flag: True)  # as if another one said float32
    assert choose_precision.choose_precision(strategy, agree=True)[0] == "float32"


def test_a_run_keeps_the_precision_it_began_with(strategy, monkeypatch):
    monkeypatch.setattr(training_build, "choose_precision", lambda strategy, agree: ("mixed_bfloat16", "a line"))
    config, line = training_build.with_precision(Config(), strategy)
    assert (config.train.precision, line) == ("mixed_bfloat16", "a line")
    begun = config_of({}, ["train.precision=float32"], source="a test")
    config, line = training_build.with_precision(Config(), strategy, begun)
    assert (config.train.precision, line) == ("float32", "train.precision=auto: float32, as this run began")


def test_float32_by_choice_gets_a_hint_and_other_precisions_nothing(strategy, monkeypatch):
    monkeypatch.setattr(choose_precision, "bfloat16_unit", lambda: "avx512_bf16")
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        chosen = config_of({}, [f"train.precision={precision}"], source="a test")
        config, line = training_build.with_precision(chosen, strategy)
        assert config == chosen
        assert (line or "").startswith("note: this processor has bfloat16 units (avx512_bf16)") is (precision == "float32")


def test_tf32_is_given_back():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before = enabled()
    with choose_precision.tensor_float_32(not before):
        assert enabled() is not before
    assert enabled() is before
