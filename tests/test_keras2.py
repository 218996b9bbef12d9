"""Keras 2 on every TensorFlow, whatever was imported first; each in a process of its own."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras, layers

KERAS_2_MODEL = ".engine.training"  # end of the module of `Model`; Keras 3 has it elsewhere
KERAS_3 = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 16)


def _run(code):
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}  # a tester may have set it
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_it_is_keras_2():
    assert keras.Model.__module__.endswith(KERAS_2_MODEL)
    assert layers.Layer is keras.layers.Layer


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import tensorflow as tf; tf.keras.layers.Dense(1)", "pass"])
def test_the_users_keras_stays_what_it_was(first):
    code, out, errors = _run(
        f"{first}\n"
        "import ttfnet_tf\n"
        "from ttfnet_tf.models.backbones.convolution import conv2d\n"
        "from ttfnet_tf.keras2 import keras\n"
        "y = conv2d(keras.Input([8, 8, 3]), 4, 3, 1, 'a', 0)\n"
        "import tensorflow as tf\n"
        "print(keras.Model.__module__, tf.keras.Model.__module__)"
    )
    assert code == 0, errors
    ours, users = out.split()[-2:]
    assert ours.endswith(KERAS_2_MODEL)
    assert users.endswith(KERAS_2_MODEL) is not KERAS_3


@pytest.mark.skipif(not KERAS_3, reason="TensorFlow's own Keras is Keras 2 up to 2.15")
def test_without_tf_keras_one_line_names_the_command():
    code, _, errors = _run(
        "import sys; sys.modules['tf_keras'] = None\n"
        "from ttfnet_tf.cli import main\n"
        "sys.exit(main(['benchmark', 'train', 'configs/demo.yaml']))"
    )
    minor = ".".join(tf.__version__.split(".")[:2])
    assert code == 2
    assert errors == f"ttfnet: TensorFlow {minor} brings Keras 3, and this package needs Keras 2: pip install 'tf-keras=={minor}.*'\n"
