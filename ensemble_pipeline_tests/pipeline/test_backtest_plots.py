"""Pictures of differences and of shares over time: where things are drawn, and that nothing unknown is."""

import math
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.pipeline.plots.differences import Difference, Verdict, differences_drawing
from ensemble_pipeline.pipeline.plots.lines import MOST_LINES, Line, shares_drawing
from ensemble_pipeline.pipeline.plots.svg import BAD, DARK, GOOD, LINES, UNDECIDED, Drawing, text_width

NAN = math.nan
START = datetime(2025, 8, 1, tzinfo=UTC)
SHARES = st.floats(0, 1) | st.just(NAN)
POINTS = st.floats(-2, 2)
LEFT, LAST, RIGHT, FOOT, HEIGHT = 56, 666, 676, 294, 250  # of the plot of shares; its last step goes from LAST to RIGHT


def drawn(picture: Drawing | None) -> ET.Element:
    assert picture is not None
    root = ET.fromstring(picture.svg)  # noqa: S314
    for element in root.iter():
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
    return root


def words(picture: Drawing | None) -> list[str]:
    return [element.text or "" for element in drawn(picture).iter("text")]


def difference(estimate: float = -0.05, interval: tuple[float, float] | None = (-0.1, -0.01)) -> Difference:
    return Difference("median", estimate, interval, 1200, 53)


def compared(*rows: Difference) -> Drawing | None:
    return differences_drawing("Against others", "the ensemble", [("others", rows)])


def over_days(*lines: Line) -> Drawing | None:
    times = [START + timedelta(days=n) for n in range(len(lines[0].shares))]
    return shares_drawing("Weights", times, lines, 0.25)


def paths(picture: Drawing | None) -> list[str]:
    return [each.attrib["d"] for each in drawn(picture).iter("path") if each.get("fill") == "none"]


@pytest.mark.parametrize(
    ("interval", "verdict", "colour"),
    [
        ((-0.1, -0.01), Verdict.BETTER, GOOD),
        ((0.01, 0.1), Verdict.WORSE, BAD),
        ((-0.1, 0.0), Verdict.TIED, UNDECIDED),
        (None, Verdict.TOO_FEW, UNDECIDED),
    ],
)
def test_differences_say_in_word_and_colour_what_the_interval_shows(
    interval: tuple[float, float] | None, verdict: Verdict, colour: str
) -> None:
    picture = compared(difference(interval=interval))
    (told,) = (each for each in drawn(picture).iter("text") if each.text == verdict)
    assert told.get("fill") == colour
    assert picture is not None
    assert picture.title == f"Differences of the ensemble to 1 others: 1 {verdict}"


def test_differences_put_better_left_of_zero() -> None:
    picture = compared(difference(), difference(0.05, (0.01, 0.1)))
    left, right = drawn(picture).iter("circle")
    # zero is at 457 and the scale goes on for 170 on either side, to 1.08 times the farthest end, .1
    assert [float(each.attrib["cx"]) for each in (left, right)] == [378.3, 535.7]
    assert {"−0.0500", "−0.1000 to −0.0100", "1,200", "53"} <= set(words(picture))


@pytest.mark.parametrize(("events", "is_told"), [(19, True), (20, False)])
def test_differences_from_few_events_come_with_a_caution(events: int, is_told: bool) -> None:
    picture = compared(Difference("median", -0.05, (-0.1, -0.01), 100, events))
    assert ("From fewer than 20 events it is too narrow." in " ".join(words(picture))) == is_told


def test_differences_with_nobody_are_no_picture() -> None:
    assert compared() is None


def test_shares_hold_until_the_next_that_is_known() -> None:
    first, second = paths(over_days(Line("m", [0.5, NAN, 0.25]), Line("n", [NAN, 0.1, 0.1])))[:2]
    top = 1.08 * 0.5
    y = [f"{FOOT - share / top * HEIGHT:.1f}" for share in (0.5, 0.25, 0.1)]
    middle = (LEFT + LAST) / 2
    assert first == f"M{LEFT:.1f} {y[0]}H{LAST:.1f}V{y[1]}H{RIGHT}"
    assert second == f"M{middle:.1f} {y[2]}H{LAST:.1f}V{y[2]}H{RIGHT}"


def test_shares_at_one_time_or_of_nobody_are_no_picture() -> None:
    assert shares_drawing("Weights", [START], [Line("m", [1.0])], 1.0) is None
    assert shares_drawing("Weights", [START, START + timedelta(days=1)], [], 1.0) is None


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=MOST_LINES))
def test_names_beside_lines_neither_touch_nor_leave_the_picture(shares: list[list[float]]) -> None:
    picture = over_days(*(Line(f"m{index}", each) for index, each in enumerate(shares)))
    labels = [each for each in drawn(picture).iter("text") if re.fullmatch(r"\d+% m\d+", each.text or "")]
    heights = [float(each.attrib["y"]) for each in labels]
    assert len(labels) == len(shares)
    assert all(below - above >= 15 for above, below in pairwise(heights))
    assert min(heights) > 30
    assert max(heights) < FOOT + 10


def test_twelve_lines_all_look_different() -> None:
    picture = over_days(*(Line(f"m{index}", [0.1, 0.1]) for index in range(MOST_LINES)))
    looks = {
        (each.get("stroke"), each.get("stroke-dasharray")) for each in drawn(picture).iter("path") if each.get("fill")
    }
    assert len(looks) == MOST_LINES
    assert set(LINES) <= set(DARK)


@pytest.mark.parametrize("hours", [1, 47, 49, 24 * 37, 24 * 400, 24 * 4000])
def test_dates_under_the_lines_do_not_touch(hours: int) -> None:
    times = [START + timedelta(hours=5), START + timedelta(hours=5 + hours)]
    picture = shares_drawing("Weights", times, [Line("m", [0.2, 0.3])], 0.25)
    dates = [each for each in drawn(picture).iter("text") if re.match(r"\d\d \w{3}|\w{3} \d{4}$", each.text or "")]
    places = [float(each.attrib["x"]) for each in dates]
    widest = max(text_width(each.text or "") for each in dates)
    assert 2 <= len(dates) <= 12
    assert all(right - left > widest for left, right in pairwise(places))


@given(st.lists(st.tuples(POINTS | st.just(NAN), POINTS, POINTS), min_size=1, max_size=8))
def test_differences_never_draw_what_is_not_known(rows: list[tuple[float, float, float]]) -> None:
    picture = compared(*(difference(estimate, (min(a, b), max(a, b))) for estimate, a, b in rows))
    assert picture is not None
    assert not re.search("nan|inf", picture.svg, re.IGNORECASE)


@given(st.lists(st.tuples(SHARES, SHARES, st.floats(0, 1)), min_size=1, max_size=MOST_LINES))
def test_shares_never_draw_what_is_not_known(rows: list[tuple[float, float, float]]) -> None:
    picture = over_days(*(Line("m", row) for row in rows))
    assert picture is not None
    assert not re.search("nan|inf", picture.svg, re.IGNORECASE)
