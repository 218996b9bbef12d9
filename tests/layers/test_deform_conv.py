import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.layers.deform_conv import SAMPLERS, DeformableConv2D, deformable_conv2d


def _sample(image, y, x):
    """Bilinear value of [H, W, C] at (y, x): 0 unless strictly inside (-1, H) x (-1, W), cells outside count as 0."""
    height, width = image.shape[:2]
    value = np.zeros(image.shape[2])
    if not (-1 < y < height and -1 < x < width):
        return value
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < height and 0 <= column < width:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return value


def _slow(x, offset, mask, kernel, strides):
    """The definition, one sample at a time, in float64."""
    x, side = x.astype(np.float64), kernel.shape[0]
    out = np.zeros([*mask.shape[:3], kernel.shape[3]])
    for b, i, j in np.ndindex(*mask.shape[:3]):
        for tap in range(side * side):
            y = i * strides - side // 2 + tap // side + offset[b, i, j, 2 * tap]
            x_ = j * strides - side // 2 + tap % side + offset[b, i, j, 2 * tap + 1]
            out[b, i, j] += mask[b, i, j, tap] * _sample(x[b], y, x_) @ kernel[tap // side, tap % side]
    return out


def _case(batch=2, height=5, width=6, channels=3, filters=4, side=3, strides=1, spread=1.5, seed=0):
    random = np.random.default_rng(seed)
    cells = (batch, -(-height // strides), -(-width // strides))
    return {
        "x": random.standard_normal((batch, height, width, channels)).astype(np.float32),
        "offset": (spread * random.standard_normal((*cells, 2 * side * side))).astype(np.float32),
        "mask": random.random((*cells, side * side)).astype(np.float32),
        "kernel": random.standard_normal((side, side, channels, filters)).astype(np.float32),
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"spread": 20.0}, {"side": 1}, {"side": 5}, {"side": 7, "spread": 9.0}, {"strides": 2}, {"height": 1, "width": 1}],
    ids=str,
)
def test_equals_the_definition(sampler, settings):
    case, strides = _case(**settings), settings.get("strides", 1)
    out = deformable_conv2d(**case, sampler=sampler, strides=strides)
    np.testing.assert_allclose(out, _slow(**case, strides=strides), atol=2e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_without_offsets_it_is_a_convolution(sampler):
    case = _case()
    case["offset"][:], case["mask"][:] = 0.0, 1.0
    expected = tf.nn.conv2d(case["x"], case["kernel"], 1, "SAME")
    np.testing.assert_allclose(deformable_conv2d(**case, sampler=sampler), expected, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_shifted_tap_by_hand(sampler):
    # Map of one row [2, 4]; a 1x1 window in column 0 that looks .25 to the right reads .75 * 2 + .25 * 4 = 2.5,
    # in column 1 .75 * 4 + .25 * 0 (outside) = 3; mask .5 and kernel 10 make 12.5 and 15.
    x = tf.constant([2.0, 4.0], shape=[1, 1, 2, 1])
    offset = tf.constant([0.0, 0.25, 0.0, 0.25], shape=[1, 1, 2, 2])
    mask, kernel = tf.fill([1, 1, 2, 1], 0.5), tf.fill([1, 1, 1, 1], 10.0)
    with tf.GradientTape() as tape:
        tape.watch([x, offset, mask, kernel])
        out = deformable_conv2d(x, offset, mask, kernel, tf.constant([1.0]), sampler=sampler)
    np.testing.assert_allclose(tf.reshape(out, [-1]), [13.5, 16.0])
    dx, doffset, dmask, dkernel = tape.gradient(out, [x, offset, mask, kernel])
    np.testing.assert_allclose(tf.reshape(dx, [-1]), [3.75, 1.25 + 3.75])  # .5 * 10 * (.75), .5 * 10 * (.25 + .75)
    np.testing.assert_allclose(tf.reshape(dmask, [-1]), [25.0, 30.0])
    # dx of the tap: .5 * 10 * (4 - 2) and .5 * 10 * (0 - 4); dy: the row below is outside, .5 * 10 * (0 - 2.5) and (0 - 3).
    np.testing.assert_allclose(tf.reshape(doffset, [-1]), [-12.5, 10.0, -15.0, -20.0])
    np.testing.assert_allclose(tf.reshape(dkernel, [-1]), [0.5 * (2.5 + 3.0)])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gradients_equal_finite_differences(sampler):
    case = _case(height=4, width=4, seed=3)
    whole = np.abs(case["offset"] - np.round(case["offset"])) < 0.02  # keep away from the kinks of bilinear interpolation
    case["offset"][whole] += 0.05
    weights = np.random.default_rng(9).standard_normal((2, 4, 4, 4))
    inputs = {name: tf.constant(value) for name, value in case.items()}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = deformable_conv2d(**inputs, sampler=sampler)
    gradients = tape.gradient(out, inputs, tf.constant(weights, tf.float32))
    step, random = 1e-3, np.random.default_rng(1)
    for name, gradient in gradients.items():
        for index in random.integers(0, case[name].size, 12):
            values = []
            for sign in (1, -1):
                moved = {key: value.astype(np.float64) for key, value in case.items()}
                moved[name].reshape(-1)[index] += sign * step
                values.append((_slow(**moved, strides=1) * weights).sum())
            np.testing.assert_allclose(gradient.numpy().reshape(-1)[index], (values[0] - values[1]) / (2 * step), atol=2e-4, err_msg=name)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("dtype", "error"), [(tf.bfloat16, 0.02), (tf.float16, 0.003)])
def test_shorter_types_are_near_the_definition_and_its_gradients(sampler, dtype, error):
    case = {name: tf.constant(value) for name, value in _case(channels=8, filters=4, seed=4).items()}
    short = {**case, "x": tf.cast(case["x"], dtype), "kernel": tf.cast(case["kernel"], dtype)}
    results = []
    for inputs in (case, short):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            out = deformable_conv2d(**inputs, sampler=sampler)
            loss = tf.reduce_sum(tf.square(tf.cast(out, tf.float32)))
        results.append({"out": out, **tape.gradient(loss, inputs)})
    exact = {**results[0], "out": _slow(**{name: value.numpy() for name, value in case.items()}, strides=1)}
    assert results[1]["out"].dtype == dtype
    for name, right in exact.items():
        value = tf.cast(results[1][name], tf.float32)
        assert np.linalg.norm(value - right) <= error * np.linalg.norm(right), name


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_the_border_of_the_open_interval_there_is_no_gradient(sampler):
    # Every tap of a 1x1 window sits exactly at -1, where a zero-padded gather would see the slope of the first row.
    x = tf.ones([1, 1, 1, 1])
    offset = tf.constant([-1.0, 0.0], shape=[1, 1, 1, 2])
    with tf.GradientTape() as tape:
        tape.watch(offset)
        out = deformable_conv2d(x, offset, tf.ones([1, 1, 1, 1]), tf.ones([1, 1, 1, 1]), sampler=sampler)
    assert np.all(out == 0.0)
    assert np.all(tape.gradient(out, offset) == 0.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_unknown_sizes_give_equal_values(sampler):
    case = _case()
    function = tf.function(
        lambda x, offset, mask, kernel: deformable_conv2d(x, offset, mask, kernel, sampler=sampler),
        input_signature=[tf.TensorSpec([None, None, None, value.shape[-1]]) for value in list(case.values())[:3]]
        + [tf.TensorSpec([3, 3, 3, 4])],
        autograph=False,
    )
    np.testing.assert_allclose(function(**case), deformable_conv2d(**case, sampler=sampler), atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gradients_are_equal_bit_for_bit_in_every_run(sampler):
    case = {name: tf.constant(value) for name, value in _case(4, 24, 24, 32, 16, seed=5).items()}

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(case)
            out = tf.reduce_sum(tf.square(deformable_conv2d(**case, sampler=sampler)))
        return tape.gradient(out, case)

    first = gradients()
    for _ in range(5):
        for name, gradient in gradients().items():
            np.testing.assert_array_equal(gradient, first[name], err_msg=name)


def _traced_gradients(case, batch=None, **options):
    """The compiled gradients of the gather form; `batch` images, none of which need exist."""

    @tf.function(
        autograph=False,
        input_signature=[
            {
                name: tf.TensorSpec([batch or v.shape[0], *v.shape[1:]] if v.ndim == 4 and name != "kernel" else v.shape)
                for name, v in case.items()
            }
        ],
        **options,
    )
    def gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            out = tf.reduce_sum(tf.square(deformable_conv2d(**inputs, sampler="gather")))
        return out, tape.gradient(out, inputs)

    return gradients


def test_the_gather_form_holds_no_sparse_matrix_no_crop_and_no_tensor_larger_than_map_times_kernels():
    case = _case(1, 128, 128, 8, 64)
    graph = _traced_gradients(case, batch=200).get_concrete_function().graph
    assert {"SparseTensorDenseMatMul", "CropAndResize"} & {operation.type for operation in graph.get_operations()} == set()
    largest = max(tensor.shape.num_elements() for operation in graph.get_operations() for tensor in operation.outputs)
    assert largest == 200 * 128 * 128 * 9 * 64 < 2**31  # of one image: 9.4 million, so 227 images


@pytest.mark.slow
def test_the_gather_form_is_the_same_under_xla():
    case = _case(2, 8, 9)
    inputs = {name: tf.constant(value) for name, value in case.items()}
    out, expected = _traced_gradients(case)(inputs)
    compiled_out, compiled = _traced_gradients(case, jit_compile=True)(inputs)
    np.testing.assert_allclose(compiled_out, out, rtol=1e-5)
    for name, gradient in expected.items():
        np.testing.assert_allclose(compiled[name], gradient, atol=1e-5 * np.abs(gradient).max(), err_msg=name)


def test_new_layer_is_half_a_convolution():
    layer, x = DeformableConv2D(4), tf.constant(_case()["x"])
    out = layer(x)
    np.testing.assert_allclose(out, 0.5 * tf.nn.conv2d(x, layer.kernel, 1, "SAME"), atol=1e-6)
    assert np.abs(layer.kernel).max() <= 1 / np.sqrt(9 * 3)


def test_half_precision_keeps_coordinates_in_float32():
    # Column 2047 of a wide map: float16 cannot represent 2047.25, float32 can.
    layer = DeformableConv2D(1, kernel_size=1, dtype="mixed_float16")
    x = np.zeros([1, 1, 2049, 1], np.float32)
    x[0, 0, 2048, 0] = 64.0
    layer.build(x.shape)
    layer.kernel.assign(tf.ones([1, 1, 1, 1]))
    layer.offset_mask.bias.assign([0.0, 0.25, 100.0])
    out = layer(tf.constant(x))
    assert out.dtype == tf.float16
    assert out[0, 0, 2047, 0] == 16.0


def test_wrong_arguments_are_named():
    case = _case()
    with pytest.raises(ValueError, match=r"sampler.*crop_and_resize.*received 'bilinear'"):
        deformable_conv2d(**case, sampler="bilinear")
    with pytest.raises(ValueError, match=r"mask must have 9 channels.*\(2, 5, 6, 8\)"):
        deformable_conv2d(case["x"], case["offset"], case["mask"][..., :8], case["kernel"])
    with pytest.raises(ValueError, match=r"\(2, 5, 6, 2\).*\(3, 3, 3, 4\)"):
        deformable_conv2d(case["x"][..., :2], case["offset"], case["mask"], case["kernel"])
    with pytest.raises(ValueError, match="odd, received 4"):
        DeformableConv2D(8, kernel_size=4)
