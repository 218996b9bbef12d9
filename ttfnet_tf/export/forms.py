"""The forms in which a run can be exported. Needs no TensorFlow, so that the command line refuses a wrong one at once."""

FORMATS = ("saved_model", "tflite")
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")  # of a .tflite file
