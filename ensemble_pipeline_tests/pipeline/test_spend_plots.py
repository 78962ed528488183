"""Pictures of spend and of what a dollar buys, read back as a browser reads them."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import dagster as dg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ensemble_pipeline.pipeline.plots import (
    Bought,
    DayCost,
    SpendReading,
    day_so_far,
    efficiency_plot,
    spend_by_day,
)
from ensemble_pipeline.pipeline.plots.dollars import usd
from ensemble_pipeline.pipeline.plots.svg import BAD, GOOD, INK, LINES, MUTED, PAPER, UNDECIDED, text_width
from ensemble_pipeline_tests.pipeline.test_plots import HOSTILE, drawn, numbers, svg_text, words

NAN, INF = math.nan, math.inf
DAY = date(2026, 3, 31)
AMOUNTS = st.floats(0, 1e9) | st.sampled_from([NAN, INF, -INF, -1.0])
LIMITS = st.floats(0, 1e9) | st.sampled_from([NAN, INF, None])
RATIOS = st.floats(allow_nan=True, allow_infinity=True) | st.none()
SOFT_LINE, HARD_LINE = "7 4", ""  # dashes


def cost(*amounts: float, day: date = DAY) -> DayCost:
    return DayCost(day, {f"m{index}": amount for index, amount in enumerate(amounts)})


def at(hour: float, spent: float, held: float = 0.0) -> SpendReading:
    return SpendReading(datetime(2026, 3, 31, tzinfo=UTC) + timedelta(hours=hour), spent, held)


def bought(model: str = "m", ratio: float | None = 10.0, low: float | None = 5.0, high: float | None = 20.0) -> Bought:
    return Bought(model, 1234, 5.5, 0.002, 0.02, ratio, low, high)


def free(model: str, gain: float | None) -> Bought:
    return Bought(model, 7, 0.0, 0.0, gain, None, None, None)


def paths(picture: dg.MarkdownMetadataValue, **attributes: str) -> list[str]:
    wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
    return [it.attrib["d"] for it in drawn(picture).iter("path") if wanted.items() <= it.attrib.items()]


def limit_lines(picture: dg.MarkdownMetadataValue) -> dict[str, str]:
    """The path of each limit's line by its dashes."""
    lines = [it for it in drawn(picture).iter("path") if it.get("stroke-width") == "1.4"]
    return {it.get("stroke-dasharray", ""): it.attrib["d"] for it in lines}


def dots(picture: dg.MarkdownMetadataValue, colour: str) -> list[list[float]]:
    return [numbers(it, "cx", "cy") for it in drawn(picture).iter("circle") if it.get("fill") == colour]


def caption(picture: dg.MarkdownMetadataValue) -> str:
    lines = [it.text or "" for it in drawn(picture).iter("text") if it.get("fill") == MUTED]
    return " ".join(lines)


def names_in_rows(picture: dg.MarkdownMetadataValue, rows: Sequence[Bought]) -> list[str]:
    names = {row.model for row in rows}
    return [word for word in words(picture) if word in names]


EXAMPLES = {
    "by day": spend_by_day([cost(1.0, 2.0)], 12, 20),
    "so far": day_so_far([at(1, 0.5)], 10, 12, 20, DAY),
    "efficiency": efficiency_plot([bought()]),
}


@pytest.mark.parametrize("picture", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_picture_has_a_size_in_pixels_an_own_background_and_a_title_for_those_who_cannot_see_it(
    picture: dg.MarkdownMetadataValue,
) -> None:
    root = drawn(picture)
    title, paper = list(root)[:2]
    assert picture.value.startswith(f"![{title.text}](")
    assert numbers(paper, "width", "height") == numbers(root, "width", "height")
    assert paper.get("fill") == PAPER
    width, height = numbers(root, "width", "height")
    assert width <= 1080  # what the UI's dialog shows
    assert height <= 700


@pytest.mark.parametrize("picture", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_words_stay_within_the_picture(picture: dg.MarkdownMetadataValue) -> None:
    root = drawn(picture)
    (width,) = numbers(root, "width")
    shares = {"start": 0.0, "middle": 0.5, "end": 1.0}
    for each in root.iter("text"):
        long = text_width(each.text or "", float(each.get("font-size", 11)))
        left = float(each.attrib["x"]) - shares[each.get("text-anchor", "start")] * long
        assert left >= 0, each.text
        assert left + long <= width, each.text


@pytest.mark.parametrize(
    "empty",
    [
        spend_by_day([], 12, 20),
        day_so_far([], 10, 12, 20, DAY),
        day_so_far([at(-1, 5.0), at(24, 0.0)], 10, 12, 20, DAY),
        day_so_far([at(1, NAN)], 10, 12, 20, DAY),
        efficiency_plot([]),
    ],
)
def test_pictures_without_data_say_so(empty: dg.MarkdownMetadataValue) -> None:
    assert empty.value == "no data yet"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (1234.5, "$1,234.50"),
        (1.0, "$1.00"),
        (0.5, "$0.50"),
        (0.00234, "$0.0023"),
        (1e-6, "$0.000001"),
        (1e-9, "$0.00"),
        (0.0, "$0.00"),
    ],
)
def test_usd_shows_cents_and_of_small_amounts_two_digits(amount: float, shown: str) -> None:
    assert usd(amount) == shown


# spend by day: the plot is 558 wide from 66 on; the largest amount is 235 above 294


def test_spend_by_day_stacks_what_cost_most_lowest() -> None:
    picture = spend_by_day([cost(1.0, 3.0)], None, None)
    # one slot of 79 pixels, its middle at 66 + 39.5; 3 of 4 dollars are 176.25 of 235 pixels
    assert paths(picture, stroke=LINES[0], stroke_width="63.2") == ["M105.5 294.0V117.8"]
    assert paths(picture, stroke=LINES[1], stroke_width="63.2") == ["M105.5 117.8V59.0"]
    shown = words(picture)
    assert shown[shown.index("m1") - 1] == "$3.00"
    assert shown[shown.index("m0") - 1] == "$1.00"
    assert shown[shown.index("all") - 1] == "$4.00"


def test_spend_by_day_places_days_by_date_and_leaves_gaps() -> None:
    days = [cost(2.0), cost(1.0, day=DAY - timedelta(days=30))]
    picture = spend_by_day(days, None, None)
    # 31 slots of 18 pixels: the first has its middle at 75, the last at 615
    assert paths(picture, stroke=LINES[0], stroke_width="14.4") == ["M615.0 294.0V59.0M75.0 294.0V176.5"]
    dates = {it.text: it.attrib["x"] for it in drawn(picture).iter("text") if it.get("y") == "312"}
    assert dates == {f"{day:02} Mar": f"{75 + 18 * (day - 1)}" for day in (1, 6, 11, 16, 21, 26, 31)}


def test_spend_by_day_draws_the_last_thirty_one_of_more_days() -> None:
    days = [cost(1.0, day=DAY - timedelta(days=back)) for back in range(40)]
    picture = spend_by_day(days, None, None)
    (bars,) = paths(picture, stroke=LINES[0], stroke_width="14.4")
    assert bars.count("M") == 31
    assert "01 Mar 2026 to 31 Mar 2026: 31.00 USD" in picture.value
    assert "$31.00" in words(picture)


def test_spend_by_day_gives_seven_models_a_colour_and_calls_the_rest_other() -> None:
    days = [cost(*range(1, 11)), cost(*range(1, 11), day=DAY - timedelta(days=1))]
    picture = spend_by_day(days, None, None)
    shown = words(picture)
    legend = shown[shown.index("m9") - 1 : shown.index("all") + 1]
    assert legend == [
        *("$20.00", "m9", "$18.00", "m8", "$16.00", "m7", "$14.00", "m6", "$12.00", "m5", "$10.00", "m4"),
        *("$8.00", "m3", "$12.00", "other (3 models)", "$110.00", "all"),
    ]
    bars = [it for it in drawn(picture).iter("path") if it.get("stroke-width") == "63.2"]
    colours = [it.get("stroke") for it in bars]
    assert len(set(colours)) == 8
    assert colours[-1] == UNDECIDED
    # 1 + 2 + 3 of 55 dollars are 25.6 of 235 pixels, at the top of both bars
    assert bars[-1].attrib["d"] == "M184.5 84.6V59.0M105.5 84.6V59.0"


def test_spend_by_day_of_a_model_named_other_keeps_it_apart() -> None:
    picture = spend_by_day([DayCost(DAY, {f"m{k}": 1.0 for k in range(8)} | {"other (2 models)": 9.0})], None, None)
    shown = words(picture)
    assert [shown[k - 1] for k, word in enumerate(shown) if word == "other (2 models)"] == ["$9.00", "$2.00"]


@pytest.mark.parametrize(
    ("spent", "soft", "hard", "lines", "said"),
    [
        # the scale goes to 12: 3 dollars are a quarter of it, but not of 20
        (3.0, 12, 20, {SOFT_LINE: 59.0}, "Hard limit: $20.00, above this scale."),
        (2.99, 12, 20, {}, "Soft limit: $12.00, above this scale. Hard limit: $20.00, above this scale."),
        (5.0, 12, 20, {SOFT_LINE: 294 - 0.6 * 235, HARD_LINE: 59.0}, "Hard limit, solid"),
        (24.0, 12, 20, {SOFT_LINE: 294 - 235 / 2, HARD_LINE: 294 - 235 / 1.2}, "Soft limit, dashed"),
        (5.0, None, 20, {HARD_LINE: 59.0}, "Soft limit: unlimited. Hard limit, solid"),
        (5.0, 12, INF, {SOFT_LINE: 59.0}, "Hard limit: unlimited."),
        (5.0, NAN, None, {}, "Soft limit: not known. Hard limit: unlimited."),
        (0.0, 12, 0, {HARD_LINE: 294.0}, "Soft limit: $12.00, above this scale. Hard limit, solid"),
    ],
)
def test_limits_are_lines_where_the_scale_reaches_them_and_words_elsewhere(
    spent: float, soft: float | None, hard: float | None, lines: dict[str, float], said: str
) -> None:
    for picture in (spend_by_day([cost(spent)], soft, hard), day_so_far([at(1, spent)], None, soft, hard, DAY)):
        assert limit_lines(picture) == {dashes: f"M66 {y:.1f}H628" for dashes, y in lines.items()}
        assert said in caption(picture)
        named = [word for word in words(picture) if word.startswith(("soft $", "hard $"))]
        assert len(named) == len(lines)


def test_names_of_limits_that_lie_close_do_not_touch() -> None:
    picture = spend_by_day([cost(10.0)], 10, 9.9)
    ys = {it.text: float(it.attrib["y"]) for it in drawn(picture).iter("text") if it.get("x") == "632"}
    assert ys == {"soft $10.00": 63.0, "hard $9.90": 76.0}


def test_spend_by_day_writes_a_days_total_where_it_fits() -> None:
    week = [cost(1.25, day=DAY - timedelta(days=back)) for back in range(7)]
    month = [cost(1.25, day=DAY - timedelta(days=back)) for back in range(31)]
    assert words(spend_by_day(week, None, None)).count("$1.25") == 7
    assert "$1.25" not in words(spend_by_day(month, None, None))


def test_spend_by_day_when_nothing_was_spent_draws_no_bar() -> None:
    picture = spend_by_day([cost(0.0, 0.0)], None, None)
    assert not paths(picture, stroke=LINES[0], stroke_width="63.2")[0]
    assert {"$0.00", "m0", "m1", "$1.00"} <= set(words(picture))
    assert ": 0.00 USD" in picture.value


def test_spend_by_day_of_tiny_amounts_has_a_scale_of_its_own() -> None:
    picture = spend_by_day([cost(0.0005)], 12, None)
    assert paths(picture, stroke=LINES[0], stroke_width="63.2") == ["M105.5 294.0V59.0"]
    levels = [it.text for it in drawn(picture).iter("text") if it.get("x") == "60"]
    assert levels == ["$0.0000", "$0.0001", "$0.0002", "$0.0003", "$0.0004", "$0.0005"]


def test_spend_by_day_without_a_model_shows_the_day() -> None:
    assert {"31 Mar", "$0.00", "all"} <= set(words(spend_by_day([DayCost(DAY, {})], None, None)))


@pytest.mark.parametrize("unknown", [NAN, INF, -INF, -1.0])
def test_spend_by_day_leaves_out_what_is_not_known_and_says_so(unknown: float) -> None:
    picture = spend_by_day([cost(2.0, unknown)], None, None)
    assert paths(picture, stroke=LINES[0], stroke_width="63.2") == ["M105.5 294.0V59.0"]
    assert "Not known and left out: 1 amount." in caption(picture)
    assert "left out" not in caption(spend_by_day([cost(2.0)], None, None))


# the day so far: an hour is 23.25 pixels from 66 on


def test_day_so_far_holds_each_amount_until_the_next_is_read() -> None:
    picture = day_so_far([at(0, 0.0, 1.0), at(8, 2.0, 2.0), at(16, 4.0)], 8.0, None, None, DAY)
    # the scale goes to 8: a dollar is 29.375 pixels
    assert paths(picture, stroke=GOOD, stroke_width="2.4")[0] == "M66.0 294.0H252.0V235.2H438.0V176.5"
    assert paths(picture, stroke=MUTED, stroke_width="1.2")[0] == "M66.0 264.6H252.0V176.5H438.0V176.5"
    assert paths(picture, stroke_dasharray="5 3")[0] == "M438.0 176.5L624 59.0"
    assert dots(picture, GOOD) == [[438.0, 176.5]]
    shown = words(picture)
    assert [shown[shown.index(name) - 1] for name in ("spent at 16:00", "spent and held", "expected at 24:00")] == [
        *("$4.00", "$4.00", "$8.00")
    ]


@pytest.mark.parametrize("expected", [None, NAN, INF, -1.0])
def test_day_so_far_without_an_expectation_draws_no_way_there(expected: float | None) -> None:
    picture = day_so_far([at(6, 2.0)], expected, None, None, DAY)
    assert len(paths(picture, stroke_dasharray="5 3")) == 1  # the legend's
    assert len(paths(day_so_far([at(6, 2.0)], 3.0, None, None, DAY), stroke_dasharray="5 3")) == 2
    shown = words(picture)
    assert shown[shown.index("expected at 24:00") - 1] == "–"
    assert "What the day will have cost is not known yet." in caption(picture)


def test_day_so_far_shows_a_single_reading_as_points() -> None:
    picture = day_so_far([at(12, 1.0, 1.0)], None, None, None, DAY)
    assert dots(picture, GOOD) == [[345.0, 176.5]]
    assert dots(picture, MUTED) == [[345.0, 59.0]]


def test_day_so_far_reads_the_utc_hour_and_leaves_out_other_days() -> None:
    east = timezone(timedelta(hours=5))
    readings = [
        at(-0.5, 9.0),
        SpendReading(datetime(2026, 3, 31, 17, 30, tzinfo=east), 1.0, 0.0),
        SpendReading(datetime(2026, 4, 1, 4, 0, tzinfo=east), 2.0, 0.0),
        at(24, 0.0),
    ]
    picture = day_so_far(readings, None, None, None, DAY)
    assert paths(picture, stroke=GOOD, stroke_width="2.4")[0] == "M356.6 176.5H600.8V59.0"
    assert "spent at 23:00" in words(picture)


def test_day_so_far_leaves_out_readings_that_are_not_known() -> None:
    picture = day_so_far([at(0, 1.0, 1.0), at(6, NAN, 5.0), at(12, 2.0, NAN)], None, None, None, DAY)
    assert paths(picture, stroke=GOOD, stroke_width="2.4")[0] == "M66.0 176.5H345.0V59.0"
    assert paths(picture, stroke=MUTED, stroke_width="1.2")[0] == "M66.0 59.0"
    shown = words(picture)
    assert shown[shown.index("spent and held") - 1] == "–"


def test_day_so_far_draws_the_last_of_several_readings_in_five_minutes() -> None:
    readings = [at(0, 0.0), at(12, 1.0), at(12 + 1 / 60, 3.0), at(12 + 4 / 60, 4.0), at(12 + 5 / 60, 5.0)]
    picture = day_so_far(readings, None, None, None, DAY)
    assert paths(picture, stroke=GOOD, stroke_width="2.4")[0] == "M66.0 294.0H346.6V106.0H346.9V59.0"


# efficiency: zero and below are at 255, decades share 290 pixels from 291 on, rows are 24 high from 62 on


def test_efficiency_plot_puts_points_and_intervals_on_decades() -> None:
    rows = [bought("a", 10.0, 1.0, 100.0), bought("b", 1000.0, 100.0, 10_000.0)]
    picture = efficiency_plot(rows)
    # from 1 to 10,000: a decade is 72.5 pixels; the best buy comes first
    assert dots(picture, INK) == [[508.5, 74.0], [363.5, 98.0]]
    assert paths(picture, stroke=GOOD, stroke_width="6") == ["M436.0 74H581.0", "M291.0 98H436.0"]
    labels = {it.text: it.attrib["x"] for it in drawn(picture).iter("text") if it.get("y") == "125"}
    assert labels == {
        "≤ 0": "255", "1": "291", "10": "363.5", "100": "436", "1,000": "508.5", "10,000": "581",
    }  # fmt: skip
    shown = words(picture)
    assert shown[shown.index("b") + 1 :][:5] == ["1,000", "1,234", "$5.50", "$0.0020", "+0.0200"]


def test_efficiency_plot_puts_free_models_first_and_unknown_ones_last() -> None:
    rows = [
        bought("unknown", None, None, None), bought("poor", -2.0), free("free, bad", -0.01), bought("fair", 2.0),
        free("free, not scored", None), bought("nan", NAN), bought("best", 30.0), free("free, good", 0.02),
    ]  # fmt: skip
    picture = efficiency_plot(rows)
    assert names_in_rows(picture, rows) == [
        *("free, good", "free, bad", "free, not scored", "best", "fair", "poor", "nan", "unknown")
    ]
    shown = words(picture)
    assert (shown.count("free"), shown.count("not known yet")) == (3, 2)
    assert len(dots(picture, INK)) == 3
    assert "3 known, 3 free, 2 not known yet" in picture.value


def test_efficiency_plot_of_a_free_model_shows_no_ratio() -> None:
    picture = efficiency_plot([Bought("m", 7, 0.0, 0.0, 0.01, 99.0, 98.0, 100.0)])
    shown = words(picture)
    assert shown[shown.index("m") + 1 :][:6] == ["free", "–", "7", "$0.00", "$0.00", "+0.0100"]
    assert not dots(picture, INK)


@pytest.mark.parametrize(
    ("low", "high", "colour", "bar", "arrows"),
    [
        # from 1 to 100: a decade is 145 pixels, and bars go on for 5 pixels with an arrow
        (5.0, 20.0, GOOD, "M392.4 74H479.6", []),
        (0.0, 20.0, UNDECIDED, "M250.0 74H479.6", ["M244.0 74l6-5v10z"]),
        (-3.0, 20.0, UNDECIDED, "M250.0 74H479.6", ["M244.0 74l6-5v10z"]),
        (None, 20.0, UNDECIDED, "M250.0 74H479.6", ["M244.0 74l6-5v10z"]),
        (NAN, 20.0, UNDECIDED, "M250.0 74H479.6", ["M244.0 74l6-5v10z"]),
        (5.0, None, GOOD, "M392.4 74H586.0", ["M592.0 74l-6-5v10z"]),
        (5.0, INF, GOOD, "M392.4 74H586.0", ["M592.0 74l-6-5v10z"]),
        # an end that is far away takes the scale no farther than to 0.1: a decade is 96.7 pixels
        (0.01, 20.0, GOOD, "M286.0 74H513.4", ["M280.0 74l6-5v10z"]),
        (5.0, 1e9, GOOD, "M392.4 74H586.0", ["M592.0 74l-6-5v10z"]),
        (-3.0, -1.0, BAD, "M250.0 74H255.0", ["M244.0 74l6-5v10z"]),
        (None, None, UNDECIDED, "M250.0 74H586.0", ["M244.0 74l6-5v10z", "M592.0 74l-6-5v10z"]),
    ],
)
def test_efficiency_plot_draws_an_arrow_where_an_interval_leaves_the_scale(
    low: float | None, high: float | None, colour: str, bar: str, arrows: list[str]
) -> None:
    # the other row holds the scale from 1 to 100
    picture = efficiency_plot([bought(ratio=9.0, low=low, high=high), bought("n", 8.0, 1.0, 80.0)])
    assert paths(picture, stroke=colour, stroke_width="6")[0] == bar
    assert [path for path in paths(picture) if path.endswith("z")] == arrows


@pytest.mark.parametrize(("ratio", "shown"), [(0.0, "0"), (-0.36, "−0.360"), (-1234.5, "−1,234")])
def test_efficiency_plot_puts_a_point_at_or_below_zero_at_the_left_edge(ratio: float, shown: str) -> None:
    picture = efficiency_plot([bought(ratio=ratio, low=None, high=20.0)])
    assert dots(picture, INK) == [[255.0, 74.0]]
    assert shown in words(picture)


@pytest.mark.parametrize("unknown", [None, NAN])
def test_efficiency_plot_shows_a_dash_for_what_is_not_known(unknown: float | None) -> None:
    row = Bought("m", 0, NAN, unknown, unknown, unknown, unknown, unknown)
    shown = words(efficiency_plot([row]))
    assert shown[shown.index("m") + 1 :][:6] == ["not known yet", "–", "0", "–", "–", "–"]


@example([6.5])
@example([5.5, -2.5])
@given(st.lists(st.floats(-12, 12), min_size=1, max_size=6))
def test_efficiency_plot_labels_decades_that_do_not_touch_and_holds_every_point(powers: list[float]) -> None:
    picture = efficiency_plot([bought(ratio=10**power, low=None, high=None) for power in powers])
    foot = 62 + 24 * len(powers) + 15
    labels = [it for it in drawn(picture).iter("text") if it.get("y") == f"{foot}"]
    ends = [(float(it.attrib["x"]), text_width(it.text or "") / 2) for it in labels]
    assert len(ends) >= 2
    for (left, half), (right, other) in pairwise(ends):
        assert left + half < right - other
    points = [x for x, _ in dots(picture, INK)]
    assert min(points) >= 291
    assert max(points) <= 581
    assert points == sorted(points, reverse=True)


# any


@pytest.mark.parametrize("name", [HOSTILE, "<script>alert(1)</script>", "a|b", "a\nb", "x" * 200, "", "模" * 200])
def test_names_are_text_whatever_they_contain(name: str) -> None:
    expected = "".join(each if each.isprintable() else " " for each in name)
    for picture in (spend_by_day([DayCost(DAY, {name: 1.0})], None, None), efficiency_plot([bought(name)])):
        shown = words(picture)
        if len(name) < 200:
            assert expected in shown
        else:
            (cut,) = [word for word in shown if "…" in word]
            assert text_width(cut) <= 225
            assert (cut[0], cut[-1]) == (name[0], name[-1])
        assert {it.tag for it in drawn(picture).iter()} <= {"svg", "title", "rect", "path", "text", "circle"}


@given(st.lists(st.lists(AMOUNTS, max_size=9), min_size=1, max_size=5), LIMITS, LIMITS)
def test_spend_by_day_never_draws_what_is_not_known(
    days: list[list[float]], soft: float | None, hard: float | None
) -> None:
    costs = [cost(*amounts, day=DAY - timedelta(days=back)) for back, amounts in enumerate(days)]
    picture = spend_by_day(costs, soft, hard)
    assert not re.search(r"nan|\binf\b", svg_text(picture), re.IGNORECASE)
    assert all(59 <= float(y) <= 294 for path in limit_lines(picture).values() for y in re.findall(r" ([\d.]+)H", path))


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=9), AMOUNTS | st.none(), LIMITS, LIMITS)
def test_day_so_far_never_draws_what_is_not_known(
    amounts: list[tuple[float, float]], expected: float | None, soft: float | None, hard: float | None
) -> None:
    readings = [at(hour, spent, held) for hour, (spent, held) in enumerate(amounts)]
    picture = day_so_far(readings, expected, soft, hard, DAY)
    if picture.value == "no data yet":
        assert not any(0 <= spent < INF for spent, _ in amounts)
    else:
        assert not re.search(r"nan|\binf\b", svg_text(picture), re.IGNORECASE)
        assert all(59 <= y <= 294 for _, y in [*dots(picture, GOOD), *dots(picture, MUTED)])


@given(st.lists(st.tuples(AMOUNTS, RATIOS, RATIOS, RATIOS, RATIOS, RATIOS), min_size=1, max_size=6))
def test_efficiency_plot_never_draws_what_is_not_known(
    rows: list[tuple[float, float | None, float | None, float | None, float | None, float | None]],
) -> None:
    picture = efficiency_plot([Bought("m", 1, *row) for row in rows])
    assert not re.search(r"nan|\binf\b", svg_text(picture), re.IGNORECASE)
    assert all(255 <= x <= 581 for x, _ in dots(picture, INK))


def test_full_pictures_stay_below_twelve_kilobytes() -> None:
    names = [f"deepseek-deepseek-r1-free-{index:02}+zero-shot" for index in range(12)]
    days = [
        DayCost(DAY - timedelta(days=back), {name: 1.2345 + index + back / 7 for index, name in enumerate(names)})
        for back in range(31)
    ]
    readings = [at(minute / 60, minute * 0.0123, 0.5 + minute % 7) for minute in range(1440)]
    pictures = (
        spend_by_day(days, 70, 90),
        day_so_far(readings, 20.0, 12, 20, DAY),
        efficiency_plot([bought(name, 3.0 + index, -1.0, None) for index, name in enumerate(names)]),
    )
    assert [len(svg_text(each).encode()) < 12_000 for each in pictures] == [True] * 3
