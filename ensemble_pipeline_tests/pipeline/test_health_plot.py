"""The history of breakers as a picture."""

import re
from base64 import b64decode
from datetime import timedelta
from xml.etree import ElementTree

from ensemble_pipeline.pipeline.plots import HealthStrip, health_history
from ensemble_pipeline_tests.store.rows import NOW

DAY = timedelta(days=1)
SINCE = NOW - 7 * DAY
SVG = "{http://www.w3.org/2000/svg}"


def drawn(*strips: HealthStrip) -> ElementTree.Element:
    shown = health_history(strips, SINCE, NOW).md_str
    assert shown is not None
    return ElementTree.fromstring(b64decode(re.findall(r"base64,([^)]*)\)", shown)[0]))  # noqa: S314 - our own


def blocks(picture: ElementTree.Element) -> list[tuple[float, float]]:
    """Left edge and width of each stretch in which a breaker was not closed."""
    found = [it for it in picture.iter(f"{SVG}rect") if it.get("rx") is None]
    return [(float(it.get("x", 0)), float(it.get("width", 0))) for it in found]


def words(picture: ElementTree.Element) -> list[str]:
    return [it.text or "" for it in picture.iter(f"{SVG}text")]


def test_model_whose_breaker_never_opened_has_a_line_and_no_block() -> None:
    picture = drawn(HealthStrip("grok", [], calls=40, success_share=0.975, p95_ms=2340))
    assert blocks(picture) == []
    assert "40 calls, 98% answered, 95% within 2.3 s" in words(picture)


def test_block_lies_where_the_breaker_was_open() -> None:
    half = SINCE + 3.5 * DAY
    picture = drawn(HealthStrip("grok", [(half, "open"), (half + 1.75 * DAY, "closed")]))
    [(left, width)] = blocks(picture)
    assert (left, width) == (204 + 280, 140)


def test_breaker_opened_before_the_picture_begins_is_open_from_its_edge_and_one_still_open_up_to_its_end() -> None:
    picture = drawn(
        HealthStrip("a", [(SINCE - DAY, "open"), (SINCE + 7 * DAY / 4, "closed"), (NOW - DAY * 7 / 4, "open")])
    )
    assert blocks(picture) == [(204, 140), (204 + 420, 140)]


def test_what_was_open_for_a_moment_is_seen() -> None:
    at = SINCE + DAY
    [(_, width)] = blocks(drawn(HealthStrip("a", [(at, "open"), (at + timedelta(seconds=1), "closed")])))
    assert width == 2


def test_hostile_name_is_text_and_nothing_else() -> None:
    picture = drawn(HealthStrip("<script>x</script>\x1b[2J", []))
    assert not list(picture.iter(f"{SVG}script"))
    assert any("<script>x</script>" in it for it in words(picture))


def test_nobody_to_show_is_said() -> None:
    assert health_history([], SINCE, NOW).md_str == "no data yet"
