"""The first number of NumPy's default generator as TensorFlow operations, bit for bit.

`transforms.image_rng` seeds one generator for each image and epoch. A pipeline without Python has only TensorFlow, so the seeding and one
step of the generator are rebuilt here, for many images at a time. Integers are int64 tensors that hold words of 32 or 16 bits.

Reference: numpy/random, `SeedSequence` (bit_generator.pyx) and PCG64 (pcg64.h); M. O'Neill 2014, PCG.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

_INIT_A, _MULTIPLY_A, _INIT_B, _MULTIPLY_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_MIX_LEFT, _MIX_RIGHT = 0xCA01F9DD, 0x4973F715
_POOL = 4  # words
_WORD = 0xFFFFFFFF
_LIMBS = 8  # of 16 bits make 128
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645  # of PCG64


def first_random(seed: int, *numbers: tf.Tensor) -> tf.Tensor:
    """`np.random.default_rng((seed, *numbers)).random()` for each element.

    Args:
        seed: 0 or more, of any size.
        numbers: int64 [N] each, 0 or more and below 2^32.

    Returns:
        float64 [N], in 0..1, 1 excluded.
    """
    words = [tf.constant(seed >> shift & _WORD, tf.int64) for shift in range(0, max(seed.bit_length(), 1), 32)]
    return _traced(len(words), len(numbers))(words, numbers)


@functools.cache
def _traced(words: int, numbers: int) -> Callable:
    """`_first_random` as one operation, traced once in a process: its 400 take each input pipeline a quarter of a second."""
    signature = [[tf.TensorSpec([], tf.int64)] * words, (tf.TensorSpec([None], tf.int64),) * numbers]
    return tf.function(_first_random, input_signature=signature, autograph=False)


def _first_random(words, numbers):
    state = _generate(_mixed([*(tf.fill(tf.shape(numbers[0]), word) for word in words), *numbers]))
    initial, sequence = _limbs([*state[2:4], *state[0:2]]), _limbs([*state[6:8], *state[4:6]])
    increment = _carried(2 * sequence + np.eye(1, _LIMBS, dtype=np.int64))
    generator = _step(_carried(increment + initial), increment)
    return _output(_step(generator, increment))


def _mixed(entropy: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The pool of `SeedSequence`."""
    constant = _INIT_A

    def hashed(value):
        nonlocal constant
        value = tf.bitwise.bitwise_xor(value, constant)
        constant = constant * _MULTIPLY_A & _WORD
        return _folded(_times(value, constant))

    pool = [hashed(entropy[k] if k < len(entropy) else tf.zeros_like(entropy[0])) for k in range(_POOL)]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mix(pool[target], hashed(pool[source]))
    for word in entropy[_POOL:]:
        for target in range(_POOL):
            pool[target] = _mix(pool[target], hashed(word))
    return pool


def _generate(pool: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Eight words of `SeedSequence.generate_state`."""
    constant, words = _INIT_B, []
    for k in range(8):
        value = tf.bitwise.bitwise_xor(pool[k % _POOL], constant)
        constant = constant * _MULTIPLY_B & _WORD
        words.append(_folded(_times(value, constant)))
    return words


def _mix(left, right):
    return _folded(tf.bitwise.bitwise_and(left * _MIX_LEFT - right * _MIX_RIGHT, _WORD))


def _times(value, constant):
    return tf.bitwise.bitwise_and(value * constant, _WORD)


def _folded(value):
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, 16))


def _limbs(words: Sequence[tf.Tensor]) -> tf.Tensor:
    """int64 [N, 8] from four words of 32 bits, the lowest first."""
    return tf.stack([half for word in words for half in (tf.bitwise.bitwise_and(word, 0xFFFF), tf.bitwise.right_shift(word, 16))], axis=-1)


def _step(state: tf.Tensor, increment: tf.Tensor) -> tf.Tensor:
    """state x multiplier + increment, modulo 2^128."""
    limbs = [_MULTIPLIER >> 16 * k & 0xFFFF for k in range(_LIMBS)]
    products = np.array([[limbs[k - i] if k >= i else 0 for k in range(_LIMBS)] for i in range(_LIMBS)], np.int64)
    return _carried(tf.matmul(state, products) + increment)


def _carried(sums: tf.Tensor) -> tf.Tensor:
    """Sums of limbs as limbs of 16 bits."""
    limbs, carry = [], tf.constant(0, tf.int64)
    for value in tf.unstack(sums, axis=-1):
        value += carry
        limbs.append(tf.bitwise.bitwise_and(value, 0xFFFF))
        carry = tf.bitwise.right_shift(value, 16)
    return tf.stack(limbs, axis=-1)


def _output(state: tf.Tensor) -> tf.Tensor:
    """The double in 0..1 of a state: both halves combined, and rotated by the top six bits."""
    limbs = tf.unstack(state, axis=-1)
    low, high = (sum(tf.bitwise.left_shift(limbs[4 * half + k], 16 * k) for k in range(4)) for half in (0, 1))
    value = tf.bitcast(tf.bitwise.bitwise_xor(low, high), tf.uint64)
    turn = tf.bitwise.right_shift(limbs[-1], 10)
    right, left = (tf.cast(shift, tf.uint64) for shift in (turn, tf.bitwise.bitwise_and(64 - turn, 63)))
    turned = tf.bitwise.bitwise_or(tf.bitwise.right_shift(value, right), tf.bitwise.left_shift(value, left))
    bits = tf.bitcast(tf.bitwise.right_shift(turned, tf.constant(11, tf.uint64)), tf.int64)
    return tf.cast(bits, tf.float64) * 2.0**-53
