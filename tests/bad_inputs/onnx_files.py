"""Files with the suffix .onnx that are evaluated or used for prediction; no row needs a package of ONNX."""

import json

from onnx_bytes import CARD, field, onnx_model, outside

from bad_inputs.changes import folder, replace_file, text

EVALUATE = "evaluate {tmp}/m.onnx data.val.annotations={tmp}/val.json data.val.images={tmp}/images"
PREDICT = "predict {tmp}/m.onnx {tmp}/images --out {tmp}/out"
NAME_ONE = "name an .onnx file that this package has exported"
EXTERNAL = "{tmp}/m.onnx: keeps numbers in other files, which is refused; save the model as one file, without external data"


def model(content):
    """The file with this content."""
    return lambda tmp: replace_file(tmp / "m.onnx", content)


def card(**changes):
    """A model whose card has other entries."""
    return model(onnx_model(texts={"model_card.json": json.dumps({**CARD, **changes})}))


ROWS = {
    "no such ONNX file": (EVALUATE, None, "{tmp}/m.onnx: cannot be read (No such file or directory)"),
    "ONNX folder": (PREDICT, folder("m.onnx"), "{tmp}/m.onnx: cannot be read (Is a directory)"),
    "empty ONNX file": (PREDICT, model(b""), f"{{tmp}}/m.onnx: is no ONNX model (it has no graph); {NAME_ONE}"),
    "ONNX file of text": (
        PREDICT,
        text("m.onnx", "onnx\n"),
        f"{{tmp}}/m.onnx: is no ONNX model (it has fields of an unknown type); {NAME_ONE}",
    ),
    "ONNX file cut short": (EVALUATE, model(onnx_model()[:-9]), f"{{tmp}}/m.onnx: is no ONNX model (it is cut short); {NAME_ONE}"),
    "ONNX file cut in the graph": (PREDICT, model(onnx_model()[:8]), f"{{tmp}}/m.onnx: is no ONNX model (it is cut short); {NAME_ONE}"),
    "ONNX file of zeros": (PREDICT, model(bytes(99)), f"{{tmp}}/m.onnx: is no ONNX model (it has a field without number); {NAME_ONE}"),
    "ONNX file of others": (PREDICT, model(onnx_model(texts={})), f"{{tmp}}/m.onnx: has no model_card.json; {NAME_ONE}"),
    "ONNX file with a broken card": (
        PREDICT,
        model(onnx_model(texts={"model_card.json": "{"})),
        f"{{tmp}}/m.onnx: has no model_card.json; {NAME_ONE}",
    ),
    "ONNX card without classes": (EVALUATE, card(classes=[]), f"{{tmp}}/m.onnx: has no model_card.json; {NAME_ONE}"),
    "ONNX card with another size": (EVALUATE, card(image_size=[64, -1]), f"{{tmp}}/m.onnx: has no model_card.json; {NAME_ONE}"),
    "ONNX file with numbers outside its folder": (PREDICT, model(onnx_model(graph=field(5, outside("../../etc/passwd")))), EXTERNAL),
    "ONNX file with numbers beside it": (EVALUATE, model(onnx_model(graph=field(5, outside("m.bin")))), EXTERNAL),
    "ONNX file with numbers outside in a node": (
        PREDICT,
        model(onnx_model(graph=field(1, field(5, field(5, outside("/dev/zero")))))),
        EXTERNAL,
    ),
    "other classes than those of an ONNX file": (
        EVALUATE,
        model(onnx_model()),
        "{tmp}/val.json: has 2 classes, but the model was trained on 1",
    ),
    "ONNX of a run without ONNX": (
        "export {tmp}/run --out {tmp}/out --triton {tmp}/triton",
        None,
        "--triton: writes ONNX files; add --format onnx",
    ),
    "ONNX in a precision of TFLite": (
        "export {tmp}/run --out {tmp}/out --format onnx --precision dynamic",
        None,
        "--precision dynamic: onnx cannot be written in it; add --format tflite",
    ),
    "a Triton model of others": (
        "export {tmp}/run --out {tmp}/out --format onnx --triton {tmp}/triton",
        text("triton/run/config.pbtxt", 'name: "mine"\n'),
        "{tmp}/triton/run/config.pbtxt: exists and was not written by ttfnet export; name another folder with --triton, or add --overwrite",
    ),
}
