"""An archive cut into markets, each with its observations in the order of time.

Belongs here: which rows a range plays, and what they become on the wire. Does not: asking about an instant
(``archive_world``).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from operator import attrgetter

from ensemble_pipeline.domain import Quote
from ensemble_pipeline.replay.archive import Archive, ArchiveForecast, ArchivePrice, ArchiveQuestion
from ensemble_pipeline.replay.archive_names import make_series, make_ticker
from ensemble_pipeline.sandbox.world import WorldMarket

_TICK = Decimal("0.0001")
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Track:
    """One market with its observations: times of any, quotes, and forecasts by model, each in the order of time."""

    market: WorldMarket
    observed: tuple[datetime, ...]
    quotes: tuple[Quote, ...]
    forecasts: Mapping[str, tuple[ArchiveForecast, ...]]


def build_tracks(archive: Archive, start: datetime | None, end: datetime | None) -> dict[str, Track]:
    """The markets with at least one observation in ``[start, end)``, by ticker; ``None`` leaves that side open."""

    def is_played(at: datetime) -> bool:
        return (start is None or at >= start) and (end is None or at < end)

    first_seen: dict[str, datetime] = {}
    prices: dict[str, list[ArchivePrice]] = defaultdict(list)
    forecasts: dict[str, dict[str, list[ArchiveForecast]]] = defaultdict(lambda: defaultdict(list))
    for price in archive.prices:
        _note_first(first_seen, price.question_id, price.observed_at)
        if is_played(price.observed_at):
            prices[price.question_id].append(price)
    for forecast in archive.forecasts:
        _note_first(first_seen, forecast.question_id, forecast.asked_at)
        if is_played(forecast.asked_at):
            forecasts[forecast.question_id][forecast.model].append(forecast)
    tracks = (
        _build_track(
            question, first_seen[question.question_id], prices[question.question_id], forecasts[question.question_id]
        )
        for question in archive.questions
        if question.question_id in prices or question.question_id in forecasts
    )
    return {track.market.ticker: track for track in tracks}


def _note_first(first_seen: dict[str, datetime], question_id: str, at: datetime) -> None:
    known = first_seen.get(question_id)
    if known is None or at < known:
        first_seen[question_id] = at


def _build_track(
    question: ArchiveQuestion,
    first_seen: datetime,
    prices: list[ArchivePrice],
    forecasts: Mapping[str, list[ArchiveForecast]],
) -> Track:
    asked = {forecast.asked_at for rows in forecasts.values() for forecast in rows}
    return Track(
        market=_make_market(question, first_seen),
        observed=tuple(sorted(asked | {price.observed_at for price in prices})),
        quotes=tuple(_make_quote(price) for price in sorted(prices, key=attrgetter("observed_at"))),
        forecasts={model: tuple(sorted(rows, key=attrgetter("asked_at"))) for model, rows in forecasts.items()},
    )


def _make_market(question: ArchiveQuestion, first_seen: datetime) -> WorldMarket:
    group = ("event", question.event_id) if question.event_id else ("alone", question.question_id)
    return WorldMarket(
        ticker=make_ticker(question.source, "question", question.question_id),
        event_ticker=make_ticker(question.source, *group),
        series_ticker=make_series(question.source, question.category),
        category=question.category,
        question=question.question,
        rules=f"Resolves as the question {question.question_id} was resolved at its source, {question.source}.",
        opened_at=question.opened_at or first_seen,
        closes_at=question.closes_at,
        resolved_at=None if question.outcome is None else question.resolved_at,
        outcome=question.outcome,
    )


def _make_quote(price: ArchivePrice) -> Quote:
    bid = None if price.bid is None else price.bid.quantize(_TICK)
    ask = None if price.ask is None else price.ask.quantize(_TICK)
    return Quote(
        observed_at=price.observed_at,
        # at 0 nobody bids and at 1 nobody asks; the wire has no other way to say so either
        yes_bid=None if not bid else min(bid, _ONE - _TICK),
        yes_ask=None if ask is None or ask >= _ONE else max(ask, _TICK),
        # on the wire a last price of 0 means that nothing was traded
        last_price=None if price.mid is None else min(max(price.mid.quantize(_TICK), _TICK), _ONE - _TICK),
        volume=price.volume,
    )
