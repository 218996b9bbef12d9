"""The formats and precisions of exported models; needs no TensorFlow, so that the command line checks its arguments at once."""

FORMATS = ("saved_model", "tflite")
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")  # of a .tflite file
