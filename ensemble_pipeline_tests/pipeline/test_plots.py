"""Pictures in metadata, read back as a browser reads them: Markdown image, data URI, SVG."""

import base64
import math
import re
from xml.etree import ElementTree as ET

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.pipeline.plots import (
    STRENGTH,
    WEAKNESS,
    RankedModel,
    heat_map,
    ranking_plot,
    reliability_diagram,
)
from ensemble_pipeline.pipeline.plots.svg import BAD, GOOD, NULL, fit, text_width, ticks

NAN, INF = math.nan, math.inf
HOSTILE = "<b>&\"'](x) | 模型 é\x00\x1b\n\ud800\ufffe"
BLUE, ORANGE, GREY = "#569fd4", "#e5843c", "#d3d6da"
SHARES = st.floats(0, 1) | st.just(NAN)
POINTS = st.floats(-1e6, 1e6) | st.sampled_from([NAN, INF, -INF])


def svg_text(picture: dg.MarkdownMetadataValue) -> str:
    image = re.fullmatch(r"!\[[^\[\]<>]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", picture.value)
    assert image, picture.value[:200]
    return base64.b64decode(image[1]).decode()


def drawn(picture: dg.MarkdownMetadataValue) -> ET.Element:
    root = ET.fromstring(svg_text(picture))  # noqa: S314
    for element in root.iter():
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
    return root


def words(picture: dg.MarkdownMetadataValue) -> list[str]:
    return [element.text or "" for element in drawn(picture).iter() if element.tag in {"text", "tspan"}]


def numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names]


def one_bin(came_true: float, band: tuple[float, float] = (0.1, 0.6)) -> dg.MarkdownMetadataValue:
    return reliability_diagram([0.2], [0.4], [4], [0.25], [came_true], [band[0]], [band[1]])


def model(
    skill: float = -0.05,
    interval: tuple[float, float] = (-0.08, -0.02),
    sequence: tuple[float, float] | None = (-0.1, -0.01),
    name: str = "m",
) -> RankedModel:
    return RankedModel(name, skill, interval, sequence, weight=0.125, n_events=1234)


EXAMPLES = {
    "reliability": one_bin(0.5),
    "ranking": ranking_plot([model()]),
    "heat map": heat_map(["m"], [("category", "Politics")], [[-0.01]]),
}


@pytest.mark.parametrize("picture", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_picture_has_a_size_in_pixels_an_own_background_and_a_title_for_those_who_cannot_see_it(
    picture: dg.MarkdownMetadataValue,
) -> None:
    root = drawn(picture)
    width, height = numbers(root, "width", "height")
    title, paper = list(root)[:2]
    assert picture.value.startswith(f"![{title.text}](")
    assert numbers(paper, "width", "height") == [width, height]
    assert width <= 750
    assert height <= 700


@pytest.mark.parametrize(
    "empty",
    [
        ranking_plot([]),
        heat_map([], [("category", "Politics")], []),
        heat_map(["m"], [], [[]]),
        reliability_diagram([], [], [], [], [], [], []),
        reliability_diagram([0.0, 0.5], [0.5, 1.0], [0, 0], [NAN, NAN], [NAN, NAN], [NAN, NAN], [NAN, NAN]),
    ],
)
def test_pictures_without_data_say_so(empty: dg.MarkdownMetadataValue) -> None:
    assert empty.value == "no data yet"


def test_reliability_diagram_puts_said_across_and_came_true_up() -> None:
    root = drawn(one_bin(0.5))  # the square is 360 wide, from (66, 40) to (426, 400)
    (point,) = root.iter("circle")
    assert numbers(point, "cx", "cy") == [66 + 0.25 * 360, 40 + 0.5 * 360]
    (band,) = (each for each in root.iter("rect") if each.get("fill") == NULL)
    assert numbers(band, "x", "y", "width", "height") == [66 + 0.2 * 360, 40 + 0.4 * 360, 0.2 * 360, 0.5 * 360]


@pytest.mark.parametrize(("came_true", "is_outside"), [(0.1, False), (0.6, False), (0.05, True), (0.65, True)])
def test_reliability_diagram_marks_a_bin_outside_its_band_by_shape_and_colour(
    came_true: float, is_outside: bool
) -> None:
    picture = one_bin(came_true)
    fills = [each.get("fill") for each in drawn(picture).iter() if each.tag in {"rect", "circle"}]
    assert (BAD in fills, GOOD in fills) == (is_outside, not is_outside)
    assert f"{int(is_outside)} of 1 bins lie outside the band" in picture.value


def test_reliability_diagram_leaves_out_empty_bins_and_sizes_marks_by_their_forecasts() -> None:
    picture = reliability_diagram(
        [0.0, 0.25, 0.5], [0.25, 0.5, 1.0], [100, 0, 25], [0.1, NAN, 0.7], [0.1, NAN, 0.7], [0.0, NAN, 0.0],
        [1.0, NAN, 1.0],
    )  # fmt: skip
    radii = [float(point.attrib["r"]) for point in drawn(picture).iter("circle")]
    assert radii == [8.0, 5.5]
    assert {"100", "25"} <= set(words(picture))
    assert "0" not in words(picture)
    assert "125 forecasts" in picture.value


def test_reliability_diagram_without_a_band_judges_nothing() -> None:
    root = drawn(one_bin(0.9, band=(NAN, NAN)))
    assert [each.get("fill") for each in root.iter("circle")] == [GOOD]
    assert not [each for each in root.iter("rect") if each.get("fill") == NULL]


def test_reliability_diagram_when_lengths_differ_refuses() -> None:
    with pytest.raises(ValueError, match="shorter"):
        reliability_diagram([0.0], [1.0], [1], [0.5], [0.5], [0.0], [])


def test_ranking_plot_puts_better_models_left_of_zero() -> None:
    rows = [model(), model(skill=0.05, interval=(0.02, 0.08), sequence=(0.01, 0.1))]
    picture = ranking_plot(rows)
    left, right = drawn(picture).iter("circle")
    # zero is at 397 and the scale goes on for 150 on either side, to 1.08 times the farthest end, .1
    assert numbers(left, "cx", "cy") == [327.6, 62 + 12]
    assert numbers(right, "cx", "cy") == [466.4, 62 + 36]
    bars = [each.attrib["d"] for each in drawn(picture).iter("path") if "stroke-width" in each.attrib]
    assert bars[:2] == ["M258.1 74H383.1", "M285.9 74H369.2"]
    assert {"12.5%", "1,234", "better", "worse"} <= set(words(picture))


@pytest.mark.parametrize(
    ("sequence", "verdict"),
    [
        ((-0.1, -0.01), "better"),
        ((0.01, 0.1), "worse"),
        ((-0.1, 0.0), "tied"),
        ((-INF, INF), "tied"),
        ((-INF, -0.01), "better"),
        (None, "–"),
        ((NAN, NAN), "–"),
    ],
)
def test_ranking_plot_says_what_the_confidence_sequence_shows(
    sequence: tuple[float, float] | None, verdict: str
) -> None:
    shown = words(ranking_plot([model(sequence=sequence)]))
    assert shown[shown.index("m") + 1] == verdict


@pytest.mark.parametrize(
    ("sequence", "arrows"), [((-0.1, -0.01), 0), ((-INF, -0.01), 1), ((-INF, INF), 0), ((-9.0, 9.0), 2)]
)
def test_ranking_plot_draws_an_arrow_where_a_bar_leaves_the_scale(sequence: tuple[float, float], arrows: int) -> None:
    rows = [model()] * 8
    paths = [each.attrib["d"] for each in drawn(ranking_plot([*rows, model(sequence=sequence)])).iter("path")]
    assert sum(path.endswith("z") for path in paths) == arrows


def test_ranking_plot_without_an_estimate_says_so() -> None:
    picture = ranking_plot([model(skill=NAN, interval=(-INF, INF), sequence=None)])
    assert "no estimate yet" in words(picture)
    assert not list(drawn(picture).iter("circle"))


def test_heat_map_shows_thousandths_with_marks_and_colours_by_sign() -> None:
    columns = [("category", "Politics"), ("category", "Crypto"), ("regime", "calm"), ("regime", "wild")]
    picture = heat_map(
        ["m"], columns, [[-0.02, 0.02, None, 0.0001]], [[STRENGTH, WEAKNESS, "", ""]]
    )  # fmt: skip
    cells = {each.text: float(each.attrib["x"]) for each in drawn(picture).iter("tspan")}
    # cells are 36 wide from 247 on, and groups are 17 apart
    assert cells == {"−20▲": 265, "+20▼": 301, "0": 373 + 17}
    shades = {each.attrib["stroke"]: each.attrib["d"] for each in reversed(list(drawn(picture).iter("path")))}
    assert shades[BLUE] == "M247 179h35"
    assert shades[ORANGE] == "M283 179h35"
    assert shades[GREY] == "M336 179h35"
    assert {"Politics", "Crypto", "calm", "wild", "category", "regime"} <= set(words(picture))


def test_heat_map_does_not_paint_noise_in_strong_colours() -> None:
    picture = heat_map(["m"], [("category", "Politics")], [[-0.002]])
    cell = next(each for each in drawn(picture).iter("path"))
    assert cell.get("stroke") not in {BLUE, GREY}


@pytest.mark.parametrize(
    ("names", "values", "marks"),
    [
        (["m"], [[0.1]], None),
        (["m", "n"], [[0.1, 0.1]], [["", ""]]),
        (["m"], [[0.1, 0.1]], [["", ""], ["", ""]]),
        (["m"], [[0.1, 0.1]], [[""]]),
    ],
)
def test_heat_map_when_shapes_differ_refuses(
    names: list[str], values: list[list[float]], marks: list[list[str]] | None
) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        heat_map(names, [("category", "a"), ("category", "b")], values, marks)


def test_names_are_text_whatever_they_contain() -> None:
    ranking = ranking_plot([model(name=HOSTILE)])
    heat = heat_map([HOSTILE], [(HOSTILE, HOSTILE)], [[0.1]], [["<"]])
    for shown in (words(ranking), words(heat)):
        assert "<b>&\"'](x) | 模型 é     " in shown
    assert "+100<" in words(heat)


@given(st.text(), st.integers(0, 300))
def test_fit_keeps_what_fits_and_cuts_the_middle_of_the_rest(name: str, width: int) -> None:
    fitted = fit(name, width)
    assert text_width(fitted) <= max(width, text_width("…"))
    assert "…" in fitted or len(fitted) == len(name)


@given(st.floats(1e-2, 10))
def test_ticks_are_round_numbers_within_the_scale_whose_labels_do_not_touch(limit: float) -> None:
    values = [value for value, _ in ticks(limit)]
    assert 3 <= len(values) <= 7
    assert max(text_width(label) for _, label in ticks(limit)) < 150 * (values[1] - values[0]) / limit
    assert max(values) <= limit * (1 + 1e-9)
    assert all(float(label.replace("−", "-")) == pytest.approx(value) for value, label in ticks(limit))


@given(st.lists(st.tuples(st.integers(0, 10**7), SHARES, SHARES, SHARES, SHARES), min_size=1, max_size=12))
def test_reliability_diagram_never_draws_what_is_not_known(rows: list[tuple[int, float, float, float, float]]) -> None:
    n, said, came_true, low, high = zip(*rows, strict=True)
    edges = [k / len(rows) for k in range(len(rows) + 1)]
    picture = reliability_diagram(edges[:-1], edges[1:], n, said, came_true, low, high)
    assert picture.value == "no data yet" or not re.search("nan|inf", svg_text(picture), re.IGNORECASE)


@given(st.lists(st.tuples(POINTS, POINTS, POINTS, POINTS, POINTS, SHARES), min_size=1, max_size=12))
def test_ranking_plot_never_draws_what_is_not_known(
    rows: list[tuple[float, float, float, float, float, float]],
) -> None:
    models = [RankedModel("m", skill, (a, b), (c, d), weight, 1) for skill, a, b, c, d, weight in rows]
    assert not re.search("nan|inf", svg_text(ranking_plot(models)), re.IGNORECASE)


@given(st.lists(st.tuples(POINTS, POINTS | st.none()), min_size=1, max_size=12))
def test_heat_map_never_draws_what_is_not_known(rows: list[tuple[float, float | None]]) -> None:
    picture = heat_map(["m"] * len(rows), [("a", "b"), ("a", "c")], rows)
    assert not re.search("nan|inf", svg_text(picture), re.IGNORECASE)


def test_pictures_of_twelve_models_in_sixteen_segments_stay_below_twelve_kilobytes() -> None:
    names = [f"deepseek-deepseek-r1-free-{index:02}+zero-shot" for index in range(12)]
    columns = [("category", f"Science and Technology {index}") for index in range(16)]
    values = [[(-1.0) ** (row + column) * 0.123 for column in range(16)] for row in range(12)]
    heat = heat_map(names, columns, values, [[STRENGTH, ""] * 8] * 12)
    ranking = ranking_plot([model(name=name) for name in names])
    lower = [k / 20 for k in range(20)]
    upper = [edge + 0.05 for edge in lower]
    reliability = reliability_diagram(lower, upper, [12345] * 20, lower, upper, lower, upper)
    assert [len(svg_text(each).encode()) < 12_000 for each in (heat, ranking, reliability)] == [True] * 3
