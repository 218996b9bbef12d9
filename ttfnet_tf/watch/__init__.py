"""What can be seen of data, targets and training: pictures with maps over them, and TensorBoard."""
