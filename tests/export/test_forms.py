"""Which files `ttfnet export` writes for formats and precisions."""

import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.export.forms import ALL_PRECISIONS, FORMATS, PRECISIONS, forms_of

SAVED, LITE = FORMATS


@pytest.mark.parametrize(
    ("formats", "precisions", "forms"),
    [
        ([SAVED], ["fp32"], [(SAVED, "fp32")]),
        ([SAVED], ["bf16"], [(SAVED, "bf16")]),
        ([SAVED], ["bf16", "fp32"], [(SAVED, "fp32"), (SAVED, "bf16")]),
        ([LITE], ["int8", "fp16"], [(LITE, "fp16"), (LITE, "int8")]),
        ([SAVED, LITE], ["int8"], [(SAVED, "fp32"), (LITE, "int8")]),
        ([SAVED, LITE], ["bf16"], [(SAVED, "bf16"), (LITE, "fp32")]),
    ],
)
def test_files(formats, precisions, forms):
    assert forms_of(formats, precisions) == forms


@pytest.mark.parametrize(
    ("formats", "precision", "line"),
    [
        ([LITE], "bf16", "--precision bf16: tflite cannot be written in it; add --format saved_model"),
        ([SAVED], "int8", "--precision int8: saved_model cannot be written in it; add --format tflite"),
    ],
)
def test_a_precision_that_would_do_nothing_is_refused(formats, precision, line):
    with pytest.raises(UserError) as caught:
        forms_of(formats, [precision])
    assert str(caught.value) == line


def test_all_precisions_are_those_of_the_formats():
    assert set(ALL_PRECISIONS) == {precision for one in PRECISIONS.values() for precision in one}
