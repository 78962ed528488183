from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Source
from ensemble_pipeline.providers.sources import (
    DATE_LENGTH,
    MAX_SOURCES,
    TITLE_LENGTH,
    URL_LENGTH,
    kept,
    problem_with,
    published_on,
)

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
ANY_TEXT = st.text(max_size=600)


@pytest.mark.parametrize(
    "url",
    ["", "javascript:alert(1)", "ftp://a.org", "data:text/html,x", "a.org", "http://", "https://[", "file:///etc"],
)
def test_only_pages_of_the_web_are_kept(url: str) -> None:
    assert kept([Source(url, "A page")]) == ()


def test_page_is_kept_once_with_the_first_title_and_date_that_are_told() -> None:
    found = [Source("https://a.org"), Source("https://a.org", "One"), Source("https://a.org", "Two", "May 1, 2025")]
    assert kept(found) == (Source("https://a.org", "One", "May 1, 2025"),)


def test_page_beyond_the_most_that_are_kept_still_completes_one_that_is() -> None:
    many = [Source(f"https://a.org/{i}") for i in range(MAX_SOURCES + 5)]
    found = kept([*many, Source("https://a.org/0", "The first")])
    assert len(found) == MAX_SOURCES
    assert found[0] == Source("https://a.org/0", "The first")


@given(st.lists(st.builds(Source, st.one_of(ANY_TEXT, ANY_TEXT.map("https://a.org/".__add__)), ANY_TEXT, ANY_TEXT)))
def test_what_is_kept_is_bounded_and_printable(found: list[Source]) -> None:
    sources = kept(found)
    assert len(sources) <= MAX_SOURCES
    assert len({it.url for it in sources}) == len(sources)
    for it in sources:
        assert it.url.startswith(("http://", "https://"))
        lengths = (len(it.url), len(it.title), len(it.stated_date))
        assert all(n <= most for n, most in zip(lengths, (URL_LENGTH, TITLE_LENGTH, DATE_LENGTH), strict=True))
        assert f"{it.url}{it.title}{it.stated_date}".replace(" ", "").isprintable()


@pytest.mark.parametrize(
    ("stated", "day"),
    [
        ("April 30, 2025", date(2025, 4, 30)),
        ("Sep 8, 2025", date(2025, 9, 8)),
        ("Sept. 8, 2025", date(2025, 9, 8)),
        ("2025-04-30", date(2025, 4, 30)),
        ("2025-04-30T10:00:00Z", date(2025, 4, 30)),
        ("  2025-04-30 10:00 ", date(2025, 4, 30)),
        ("February 30, 2025", None),
        ("2025-13-01", None),
        ("0000-01-01", None),
        ("Smarch 1, 2025", None),
        ("2 days ago", None),
        ("30/04/2025", None),
        ("", None),
    ],
)
def test_day_is_read_from_what_is_stated_or_not_at_all(stated: str, day: date | None) -> None:
    assert published_on(Source("https://a.org", "", stated)) == day


@given(st.one_of(ANY_TEXT, st.dates().map(date.isoformat)))
def test_no_stated_date_is_too_odd_to_be_looked_at(stated: str) -> None:
    source = Source("https://a.org", "A page", stated)
    assert published_on(source) is not None or problem_with([source], NOON) is not None


@pytest.mark.parametrize(
    ("stated", "as_of", "is_early_enough"),
    [
        ("2026-01-08", NOON, True),
        # the 9th ends at 12:00 UTC of the 10th where it ends last
        ("2026-01-09", NOON, True),
        ("2026-01-09", NOON - timedelta(seconds=1), False),
        ("2026-01-10", NOON, False),
        ("2026-01-11", NOON, False),
        ("9999-12-31", NOON, False),
        ("0001-01-01", NOON, True),
        ("2 days ago", NOON, False),
        ("", NOON, False),
    ],
)
def test_page_must_be_of_a_day_that_has_ended_everywhere(
    stated: str, as_of: datetime, *, is_early_enough: bool
) -> None:
    assert (problem_with([Source("https://a.org", "A page", stated)], as_of) is None) is is_early_enough


def test_one_page_that_may_be_later_is_enough_and_is_named() -> None:
    early, late = Source("https://a.org", "", "2025-01-01"), Source("https://b.org/late", "", "2026-02-01")
    problem = problem_with([early, late], NOON)
    assert problem is not None
    assert "2026-02-01" in problem
    assert "https://b.org/late" in problem
    assert problem_with([early], NOON) is problem_with([], NOON) is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Source("", "A page"), "has no date, so that it may be later than the question: A page"),
        (Source(""), "a page without an address"),
        (Source("https://a.org", "", "yesterday\n"), "is dated 'yesterday', which is no day"),
    ],
)
def test_page_without_a_date_is_named_by_what_is_known_of_it(source: Source, says: str) -> None:
    assert says in (problem_with([source], NOON) or "")
