"""Keras 2, for which this package is written: TensorFlow's own up to 2.15, the package tf-keras from 2.16 on.

What `tf.keras` is depends on the versions, on TF_USE_LEGACY_KERAS and on what was imported first. Every module takes `keras` and `layers`
from here instead, which is always Keras 2; `tf.keras` stays what it was, Keras 3 for instance.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.errors import UserError

MINOR = ".".join(tf.__version__.split(".")[:2])  # of TensorFlow; tf-keras has the same

if tuple(map(int, MINOR.split("."))) < (2, 16):
    from tensorflow import keras
else:
    try:
        import tf_keras as keras
    except ImportError:
        raise UserError(f"TensorFlow {MINOR} brings Keras 3, and this package needs Keras 2: pip install 'tf-keras=={MINOR}.*'") from None

layers = keras.layers
