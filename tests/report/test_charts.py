import re

import numpy as np

from ttfnet_tf.report.charts import POINTS, Line, bar_chart, downsample, heat_map, line_chart


def test_text_has_the_colour_of_the_page():
    chart = line_chart("a", [Line("one", [0, 1], [1, 2]), Line("two & more", [0, 1], [2, 3])], x_label="epoch", y_label="AP", log_y=True)
    assert chart.startswith("<svg ")
    assert "currentColor" in chart
    assert "two &amp; more" in chart
    assert "#000000" not in chart
    assert set(re.findall(r'id="(\w)', chart)) == {"a"}  # every id starts with the name
    assert re.findall(r"<style|<metadata|DejaVu", chart) == []


def test_the_same_curves_give_the_same_svg():
    def draw():
        return line_chart("a", [Line("one", [0, 1], [1, 2])], x_label="x", y_label="y")

    assert draw() == draw()


def test_long_lines_are_averaged_down():
    x, y = downsample(np.arange(10 * POINTS), np.ones(10 * POINTS))
    assert len(x) == len(y) == POINTS
    assert (x[0], x[-1]) == (4.5, 10 * POINTS - 5.5)  # means of ten
    np.testing.assert_array_equal(downsample([1, 2], [3, 4]), [[1, 2], [3, 4]])


def test_a_logarithmic_axis_drops_zeros():
    assert line_chart("a", [Line("one", [0, 1, 2], [0, 0, 0])], x_label="x", y_label="y", log_y=True)


def test_bar_chart_and_heat_map():
    assert "12.3" in bar_chart("b", {"both": [12.34]}, ["run"], x_label="points")
    assert "data:image/png;base64" in heat_map("m", np.eye(3), list("abc"), list("abc"))


def test_names_are_no_formulas_and_may_have_letters_that_the_font_lacks():
    names = ["price $", "$a$", r"$\frac{1}{$", "猫"]
    charts = [
        line_chart("a", [Line(name, [0, 1], [1, 2]) for name in names], x_label="$x$", y_label="y"),
        bar_chart("b", {name: [1.0] for name in names}, ["run"], x_label="points"),
        heat_map("m", np.eye(4), names, names),
    ]
    for chart, shown in zip(charts, (["$x$", *names], names, names)):
        assert [name for name in shown if name not in chart] == []
