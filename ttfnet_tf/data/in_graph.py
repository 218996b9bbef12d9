"""NumPy functions inside tf.data; a UserError of one travels as one marked line in TensorFlow's error, and `reraise` turns it back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ttfnet_tf.data.packed import damage_of
from ttfnet_tf.data.samples import Example
from ttfnet_tf.errors import UserError

_MARK, _END = "UserError<<", ">>UserError"
_FAULT = "fault"  # beside the values of a row: the line of a UserError, or nothing
_as_written = tf.autograph.experimental.do_not_convert


def in_graph(sample: Callable[..., Example], signature: dict[str, tf.TensorSpec]) -> Callable:
    """The NumPy function as a function of tensors with static shapes, for `checked` after batching.

    A UserError comes out as a string beside a row of zeros: an exception would bring its stack trace into the log.
    """
    nothing = [np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for spec in signature.values()]

    def run(*arguments):
        try:
            example = sample(*arguments)
        except UserError as error:
            return [str(error).encode(), *nothing]
        return [b"", *(example[key] for key in signature)]

    def function(*arguments):
        fault, *values = tf.numpy_function(run, arguments, [tf.string, *(spec.dtype for spec in signature.values())])
        fault.set_shape([])
        for value, spec in zip(values, signature.values()):
            value.set_shape(spec.shape)
        return {_FAULT: fault, **dict(zip(signature, values))}

    return _as_written(function)


@_as_written
def checked(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A batch of rows of `in_graph`; the first UserError among them is raised by an assertion."""
    faults = batch.pop(_FAULT)
    is_fault = tf.not_equal(faults, "")
    message = tf.strings.join([_MARK, faults[tf.argmax(is_fault)], _END])
    with tf.control_dependencies([tf.debugging.Assert(tf.logical_not(tf.reduce_any(is_fault)), [message])]):
        return {name: tf.identity(values) for name, values in batch.items()}


def marked(line: str) -> str:
    """A UserError's line as `reraise` finds it inside a TensorFlow error."""
    return f"{_MARK}{line}{_END}"


def reraise(error: BaseException) -> BaseException:
    """The UserError inside an error of TensorFlow, or `error` itself; for `raise reraise(error) from None`."""
    _, mark, rest = str(error).partition(_MARK)
    line, end, _ = rest.partition(_END)
    return UserError(line) if mark and end else damage_of(str(error)) or error
