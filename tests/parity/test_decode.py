"""Detections against those of the official `get_bboxes`."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods.decode import select
from ttfnet_tf.methods.ttfnet import decode_distances

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("case", golden.cases("decode"))
def test_detections(case):
    arrays = golden.arrays_of("decode", case)
    outputs = {"heatmap": tf.constant(arrays["logits"]), "box": tf.constant(arrays["wh"])}
    result = decode_distances(outputs, image_size=(case["input_h"], case["input_w"]), top_k=case["max_per_img"])
    for index in range(case["B"]):
        found = select({key: value[index].numpy() for key, value in result.items()}, case["score_thr"])
        boxes = found["boxes"]
        if case["rescale"]:
            boxes = boxes / arrays["scale_factor"].reshape(case["B"], -1)[index]
        assert len(found["scores"]) == case["n_det"][index]
        np.testing.assert_allclose(found["scores"], arrays[f"det_scores{index}"], rtol=1e-5, atol=1e-7)
        if not case["tied_scores"][index]:  # which of several equal detections come first, or at all, is chance in the reference
            np.testing.assert_array_equal(found["classes"], arrays[f"det_cls{index}"])
            np.testing.assert_allclose(boxes, arrays[f"det_boxes{index}"], rtol=1e-5, atol=1e-4)
