"""An archive as the rows that are decided one after the other: one market at one instant, with all answers to it.

Belongs here: what is asked when, at what price and cost. Does not: what is known by then (learnt.py).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain

from ensemble_pipeline.domain import (
    MICRO_PER_USD,
    Forecast,
    Market,
    MarketStatus,
    Quote,
    RequestReason,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.replay.archive import Archive, ArchiveForecast
from ensemble_pipeline.replay.archive_names import make_model
from ensemble_pipeline.replay.archive_tracks import Track, build_tracks
from ensemble_pipeline.replay.price_list import PriceList, is_listed, reprice
from ensemble_pipeline.sandbox.asking import count_tokens
from ensemble_pipeline.sandbox.world import WorldModel
from ensemble_pipeline.settings import MemberSettings

# forecasts of a question asked within an hour of the first of them are one row
_TOGETHER = timedelta(hours=1)
# reasons of some 150 words
_ANSWER_TOKENS = 220
_MTOK = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class AskedRow:
    """One market at one instant: what is asked, who answered what, who failed, what each call cost and at most costs.

    `outcome` and `resolved_at` are for scoring once they are known; ``None`` where the question never resolves.
    """

    number: int
    snapshot: Snapshot
    answers: tuple[Forecast, ...]
    failed: tuple[str, ...]
    cost_micro_usd: Mapping[str, int]
    worst_case_micro_usd: Mapping[str, int]
    outcome: bool | None
    resolved_at: datetime | None

    @property
    def at(self) -> datetime:
        """When it is decided."""
        return self.snapshot.quote.observed_at


@dataclass(frozen=True, slots=True)
class Played:
    """An archive ready to be walked through: rows in the order of time, and the members."""

    name: str
    questions: int
    rows: tuple[AskedRow, ...]
    members: tuple[MemberSettings, ...]


def played(archive: Archive, prices: PriceList | None = None) -> Played:
    """The rows of an archive; calls of models that `prices` lists cost what it says, whatever the archive publishes.

    Raises:
        ArchiveError: it holds no forecast, or one from after its question resolved.
    """
    if not archive.forecasts:
        raise ArchiveError(f"archive {archive.name} holds no forecasts; there is nothing to test")
    tracks = sorted(build_tracks(archive, None, None).values(), key=lambda track: track.market.ticker)
    members = _members(archive, prices or {})
    cut = list(chain.from_iterable(_rows_of(track, members) for track in tracks))
    cut.sort(key=lambda row: (row.at, row.snapshot.market.market_id))
    return Played(
        name=archive.name,
        questions=len(tracks),
        rows=tuple(_numbered(number, row) for number, row in enumerate(cut)),
        members=tuple(member.settings for member in members),
    )


@dataclass(frozen=True, slots=True)
class _Member:
    """A member, and whether its calls cost what they are published to cost or what a price list says."""

    settings: MemberSettings
    is_repriced: bool


def _members(archive: Archive, prices: PriceList) -> tuple[_Member, ...]:
    names = sorted({forecast.model for forecast in archive.forecasts})
    return tuple(_member(reprice(make_model(name), prices), is_listed(name, prices)) for name in names)


def _numbered(number: int, row: AskedRow) -> AskedRow:
    snapshot = replace(row.snapshot, snapshot_id=number)
    return replace(
        row,
        number=number,
        snapshot=snapshot,
        answers=tuple(replace(answer, snapshot_id=number) for answer in row.answers),
    )


def _rows_of(track: Track, members: Sequence[_Member]) -> Iterator[AskedRow]:
    market = _market(track)
    prompt = _prompt(market)
    given = sorted(chain.from_iterable(track.forecasts.values()), key=lambda it: (it.asked_at, it.model))
    prompt_tokens = count_tokens(len(prompt.system) + len(prompt.user))
    by_name = {member.settings.name: member for member in members}
    worst_case = {name: worst_case_micro_usd(prompt, member.settings) for name, member in by_name.items()}
    for together in _gathered(given):
        at = together[-1].asked_at
        resolved_at = track.market.resolved_at
        if resolved_at is not None and at >= resolved_at:
            raise ArchiveError(
                f"forecasts of {together[-1].question_id} were asked at {at.isoformat()}, after it resolved at "
                f"{resolved_at.isoformat()}; correct the times or drop the rows"
            )
        # of a model that was asked twice in the hour, the later answer; every call is paid for
        latest = {it.model: it for it in sorted(together, key=lambda it: (it.p_yes is not None, it.asked_at))}
        costs: Counter[str] = Counter()
        for forecast in together:
            costs[forecast.model] += _cost(forecast, by_name[forecast.model], prompt_tokens)
        yield AskedRow(
            number=0,
            snapshot=Snapshot(0, market, _quote(track, at), RequestReason.NEW, VolatilityRegime.UNKNOWN),
            answers=tuple(_answer(it.model, it.p_yes) for it in latest.values() if it.p_yes is not None),
            failed=tuple(name for name, it in latest.items() if it.p_yes is None),
            cost_micro_usd=dict(costs),
            worst_case_micro_usd=worst_case,
            outcome=track.market.outcome,
            resolved_at=resolved_at,
        )


def _gathered(given: list[ArchiveForecast]) -> Iterator[list[ArchiveForecast]]:
    together: list[ArchiveForecast] = []
    for forecast in given:
        if together and forecast.asked_at - together[0].asked_at >= _TOGETHER:
            yield together
            together = []
        together.append(forecast)
    if together:
        yield together


def _answer(model: str, p_yes: float) -> Forecast:
    # archives hold no confidence: what a reader of answers takes where none is stated
    return Forecast(0, 0, model, p_yes, max(p_yes, 1 - p_yes))


def _quote(track: Track, at: datetime) -> Quote:
    known = [quote for quote in track.quotes if quote.observed_at <= at]
    if not known:
        return Quote(at, None, None, None, None)
    return replace(known[-1], observed_at=at)


def _market(track: Track) -> Market:
    it = track.market
    return Market(
        market_id=f"archive:{it.ticker}",
        venue="archive",
        ticker=it.ticker,
        event_id=f"archive:{it.event_ticker}",
        series=it.series_ticker,
        category=it.category,
        question=it.question,
        rules=it.rules,
        opened_at=it.opened_at,
        closes_at=it.closes_at,
        status=MarketStatus.ACTIVE,
    )


def _member(model: WorldModel, is_repriced: bool) -> _Member:
    settings = MemberSettings(
        name=model.name,
        provider=model.provider,
        model=model.wire_model,
        input_usd_per_mtok=model.input_usd_per_mtok,
        output_usd_per_mtok=model.output_usd_per_mtok,
    )
    return _Member(settings, is_repriced)


def _prompt(market: Market) -> Prompt:
    return build_prompt("forecaster", market, market.opened_at)


def _cost(forecast: ArchiveForecast, member: _Member, prompt_tokens: int) -> int:
    """What the call cost: as published, else by tokens at the list price; nothing where it failed."""
    if forecast.cost_usd is not None and not member.is_repriced:
        return int(forecast.cost_usd * MICRO_PER_USD)
    if forecast.p_yes is None:
        return 0
    prices = member.settings
    tokens_in = forecast.input_tokens or prompt_tokens
    tokens_out = forecast.output_tokens or _ANSWER_TOKENS
    price = tokens_in * (prices.input_usd_per_mtok or 0) + tokens_out * (prices.output_usd_per_mtok or 0)
    return int(price / _MTOK * MICRO_PER_USD)
