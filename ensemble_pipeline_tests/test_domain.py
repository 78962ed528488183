from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ensemble_pipeline.domain import ExpiryBucket, Quote, Ranked, Ranking, Reason

AT = datetime(2026, 1, 5, tzinfo=UTC)


def quote(bid: str | None, ask: str | None, last: str | None = None) -> Quote:
    yes_bid, yes_ask, last_price = (None if it is None else Decimal(it) for it in (bid, ask, last))
    return Quote(AT, yes_bid, yes_ask, last_price, None)


@pytest.mark.parametrize(
    ("book", "mid", "is_crossed"),
    [
        (quote("0.40", "0.42"), 0.41, False),
        (quote("0.42", "0.42"), 0.42, True),
        (quote("0.43", "0.42"), 0.425, True),
        (quote(None, "0.42", "0.30"), 0.30, False),
        (quote("0.40", None), None, False),
        (quote(None, None, "0"), 0.0, False),
    ],
)
def test_quote_tells_its_mid_and_its_shape(book: Quote, mid: float | None, *, is_crossed: bool) -> None:
    assert (book.mid, book.is_crossed) == (mid, is_crossed)


@pytest.mark.parametrize(
    ("days", "bucket"),
    [(-1, "0-24h"), (1, "0-24h"), (1.01, "1-7d"), (7, "1-7d"), (7.01, "7-30d"), (30, "7-30d"), (30.01, "30d+")],
)
def test_expiry_bucket_includes_its_upper_end(days: float, bucket: str) -> None:
    assert ExpiryBucket.of(timedelta(days=days)).value == bucket


def test_ranking_tells_the_lines_of_those_it_knows_and_how_alike_two_of_them_are() -> None:
    ranking = Ranking(1, AT, (Ranked("a", 1, 0.0, None, 0, 0.0, 0.7),), {("a", "b"): 0.6})
    assert {name: row.weight for name, row in ranking.by_name.items()} == {"a": 0.7}
    assert ranking.correlation_of("a", "b", 0.25) == ranking.correlation_of("b", "a", 0.25) == 0.6
    assert ranking.correlation_of("a", "c", 0.25) == 0.25


def test_reasons_come_in_the_decision_order() -> None:
    order = [reason.value for reason in Reason]
    for earlier, later in (
        ("daily_budget", "cooldown"),
        ("cooldown", "market_day_count"),
        ("market_day_count", "volume"),
        ("volume", "category"),
        ("category", "decision_budget"),
        ("decision_budget", "confidence"),
        ("confidence", "edge"),
        ("edge", "size"),
        ("size", "position_limit"),
        ("position_limit", "cash_reserve"),
    ):
        assert order.index(earlier) < order.index(later)
    assert order[-1] == "traded"
