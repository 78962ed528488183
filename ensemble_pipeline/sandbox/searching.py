"""What a model finds when it searches the sandbox's web: pages made up of the market and the day, the same each time.

Belongs here: how often it searches, which pages, what a search costs. Does not: how a provider shows them (the wires).
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.sandbox.chance import uniform

SEARCH_USD = Decimal("0.01")
PAGE_TOKENS = 400
PAGES_EACH = 3
_NEWEST_DAYS, _DAYS_SPREAD = 2, 8


@dataclass(frozen=True, slots=True)
class Page:
    """One page, by the number of the search that found it; `published_on` is ``None`` where nobody dates it."""

    search: int
    url: str
    title: str
    published_on: date | None


def count_searches(ticker: str, wire_model: str, most: int) -> int:
    """How often a model searches about a market: at least once where it may, and at most `most` times."""
    return min(most, 1 + round(uniform("searches", ticker, wire_model)))


def find_pages(ticker: str, at: datetime, searches: int) -> tuple[Page, ...]:
    """The pages found at `at`, all published two to ten days before."""
    return tuple(_page(ticker, at, search, place) for search in range(searches) for place in range(PAGES_EACH))


def _page(ticker: str, at: datetime, search: int, place: int) -> Page:
    days = _NEWEST_DAYS + int(_DAYS_SPREAD * uniform("page", ticker, at.date(), search, place))
    url = f"https://news.sandbox.example/{ticker.lower()}/{search}-{place}"
    return Page(search, url, f"What is known about {ticker}, part {place + 1}", at.date() - timedelta(days=days))
