"""A model repository for Triton: its files and its configuration, which Triton's own message type reads where it is installed."""

import pytest
from onnx_bytes import CARD, onnx_model

from ttfnet_tf.errors import UserError
from ttfnet_tf.export.triton import configuration, write_model

EXPECTED = """# written by ttfnet export
name: "shop"
backend: "onnxruntime"
max_batch_size: 8
input [
  {
    name: "input_tensor"
    data_type: TYPE_UINT8
    dims: [ 64, 64, 3 ]
  }
]
output [
  {
    name: "detection_boxes"
    data_type: TYPE_FP32
    dims: [ 5, 4 ]
  },
  {
    name: "detection_scores"
    data_type: TYPE_FP32
    dims: [ 5 ]
  },
  {
    name: "detection_classes"
    data_type: TYPE_FP32
    dims: [ 5 ]
  },
  {
    name: "num_detections"
    data_type: TYPE_FP32
    dims: [ 1 ]
    reshape: { shape: [ ] }
  }
]
dynamic_batching {
  max_queue_delay_microseconds: 2000
}
"""


def test_configuration():
    assert configuration(CARD, name="shop") == EXPECTED
    small = configuration({**CARD, "image_size": [32, 64], "top_k": 1000}, name="shop")
    assert "dims: [ 128, 4 ]" in small  # 8 x 16 cells of one class


def test_versions_are_added(tmp_path):
    file = tmp_path / "model_fp32.onnx"
    file.write_bytes(onnx_model())
    for number in (1, 2):
        folder = write_model(file, tmp_path / "repository", name="shop")
        assert (folder / str(number) / "model.onnx").read_bytes() == file.read_bytes()
    assert (folder / "config.pbtxt").read_text() == EXPECTED
    with pytest.raises(UserError, match=r"shop/2: already exists"):
        write_model(file, tmp_path / "repository", name="shop", version=2)
    (folder / "config.pbtxt").write_text('name: "mine"')
    with pytest.raises(UserError, match="was not written by ttfnet export"):
        write_model(file, tmp_path / "repository", name="shop")
    assert not (folder / "3").exists()
    write_model(file, tmp_path / "repository", name="shop", overwrite=True)
    assert (folder / "config.pbtxt").read_text() == EXPECTED
