"""Writes checkpoints of the same objects again and again without leaving memory behind.

`tf.train.Checkpoint.write` takes a tensor outside of graphs for each variable and each name. TensorFlow 2.15 never frees 56 bytes of each,
and more of the operations around them: about 15 kB a checkpoint. So it writes the first alone, to be read for its keys; that one again and
all later ones come from one compiled function, so that a file is the same whenever its run was resumed. The function takes about 2 MB, so
it is not for the best checkpoint, which is seldom written.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the key of the description of a checkpoint's objects


class CheckpointWriter:
    """A `tf.train.Checkpoint` that is written often.

    Args:
        checkpoint: of objects that keep their variables.
        collective: True where several workers must read the variables together; every checkpoint is then written by TensorFlow's own.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint, *, collective: bool = False):
        self.checkpoint = checkpoint
        self._collective = collective
        self._function: Callable | None = None
        self._objects = -1  # when it was made

    def write(self, prefix: str) -> None:
        """Writes `prefix`.index and its data.

        Raises:
            tf.errors.OpError: the disk is full or the folder cannot be written.
        """
        if self._collective:
            self.checkpoint.write(prefix)
            return
        objects = len(tf.train.TrackableView(self.checkpoint).descendants())
        if self._function is not None and objects == self._objects:
            try:
                self._function(tf.constant(prefix))
                return
            except tf.errors.OpError:  # TensorFlow's own says more clearly what is wrong
                self._function = None
        self.checkpoint.write(prefix)
        # Optimizers may make variables later, in the first step.
        self._function, self._objects = _function_like(self.checkpoint, prefix), objects
        if self._function is not None:
            self._function(tf.constant(prefix))  # in its own order of the tensors


def _function_like(checkpoint: tf.train.Checkpoint, prefix: str) -> Callable | None:
    """A function of a prefix that writes what stands in `prefix`, with the values of then; None for objects that are not understood."""
    reader = tf.train.load_checkpoint(prefix)
    graph = reader.get_tensor(OBJECT_GRAPH)
    variables = _variables(checkpoint, TrackableObjectGraph.FromString(graph))
    if set(variables) != set(reader.get_variable_to_shape_map()) - {OBJECT_GRAPH}:
        return None
    names = [OBJECT_GRAPH, *variables]

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def write(path):
        with tf.device("cpu:0"):
            values = [tf.constant(graph), *(tf.convert_to_tensor(variable) for variable in variables.values())]
            saved = tf.raw_ops.SaveV2(prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
        with tf.control_dependencies([saved]):  # a function does not wait for this operation by itself
            return tf.identity(path)

    return write


def _variables(checkpoint: tf.train.Checkpoint, graph: TrackableObjectGraph) -> dict[str, tf.Variable]:
    """Key -> variable, by the names that lead from object to object."""
    view = tf.train.TrackableView(checkpoint)
    found, seen, waiting = {}, set(), [(0, checkpoint)]
    while waiting:
        number, one = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        children = view.children(one)
        waiting += [(child.node_id, children[child.local_name]) for child in graph.nodes[number].children if child.local_name in children]
        for attribute in graph.nodes[number].attributes:
            if attribute.name == "VARIABLE_VALUE" and hasattr(one, "assign"):
                found[attribute.checkpoint_key] = one
    return found
