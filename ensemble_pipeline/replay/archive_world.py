"""An archive played as a world: its questions are markets, its forecasts the models' answers, its prices the quotes.

Belongs here: the passing of time in an archive. Does not: reading it (``archive``), cutting it into markets with
their observations (``archive_tracks``).
An archive knows nothing between its observations: a market is open for one hour after each of them, then paused.
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType

from ensemble_pipeline.domain import MarketStatus, Quote
from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.replay.archive import Archive, ArchiveForecast
from ensemble_pipeline.replay.archive_names import make_model
from ensemble_pipeline.replay.archive_tracks import Track, build_tracks
from ensemble_pipeline.sandbox.chance import logit, sigmoid, uniform
from ensemble_pipeline.sandbox.synthetic_models import DEFAULT_MODELS, Occasion, SyntheticModel, draw_answer
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer, WorldKind, WorldMarket, WorldModel

OBSERVATION_LASTS = timedelta(hours=1)
# how far, in log-odds, synthetic models see beyond the price towards the outcome: the skill there is to find
OUTCOME_SHARE = 0.15
_OUTCOME_P = 0.98
_PRICE_CLIP = 0.002
_STEP = timedelta(hours=6)


class ArchiveWorld:
    """An archive, or the days `first` to `last` (UTC, both included) of it.

    With a range, forecasts and prices outside it are left out; settlements after it still happen. Markets without any
    observation in the range are not played. An archive without forecasts is played with the synthetic models, whose
    answers scatter around the price moved by ``OUTCOME_SHARE`` of the way, in log-odds, to a near-certain outcome.

    Attributes:
        has_synthetic_models: Whether the models are invented because the archive holds no forecasts.
        forecast_count: Archived forecasts that can be asked for, failed calls included.
        failed_forecast_count: How many of them are failed calls.
        true_outcomes: What the markets that settle settle to, by ticker.

    Raises:
        ArchiveError: the archive holds no observation in the range.
    """

    kind: WorldKind = "archive"

    def __init__(self, archive: Archive, first: date | None = None, last: date | None = None) -> None:
        start = None if first is None else datetime.combine(first, time(), UTC)
        end = None if last is None else datetime.combine(last, time(), UTC) + timedelta(days=1)
        self._tracks = build_tracks(archive, start, end)
        if not self._tracks:
            raise ArchiveError(
                f"archive {archive.name} holds no forecast and no price from {first or 'its start'} to "
                f"{last or 'its end'}; name other days"
            )
        days = f"-{first or 'start'}-{last or 'end'}" if first or last else ""
        self.key = f"{archive.name}{days}-{archive.content_hash[:8]}"
        self.markets: Mapping[str, WorldMarket] = MappingProxyType(
            {ticker: track.market for ticker, track in self._tracks.items()}
        )
        self._seed = archive.content_hash
        self._events = _collect_events(self._tracks)
        self.starts_at, self.ends_at = self._events[0], self._events[-1]
        self.has_synthetic_models = not archive.forecasts
        self._synthetic = {spec.model.wire_model: spec for spec in DEFAULT_MODELS} if self.has_synthetic_models else {}
        self.models: tuple[WorldModel, ...] = (
            tuple(spec.model for spec in DEFAULT_MODELS)
            if self.has_synthetic_models
            else tuple(map(make_model, sorted({name for track in self._tracks.values() for name in track.forecasts})))
        )
        self._count_forecasts()

    @property
    def true_outcomes(self) -> dict[str, bool]:
        """What the markets that settle settle to, by ticker."""
        return {ticker: market.outcome for ticker, market in self.markets.items() if market.outcome is not None}

    def status(self, ticker: str, at: datetime) -> MarketStatus:
        """The market's status at `at`; paused once its latest observation is an hour old."""
        track = self._tracks[ticker]
        market = track.market
        if market.resolved_at is not None and at >= market.resolved_at:
            return MarketStatus.SETTLED
        if at < market.opened_at:
            return MarketStatus.UNOPENED
        if at >= market.closes_at:
            return MarketStatus.CLOSED
        index = bisect_right(track.observed, at)
        is_present = index > 0 and at - track.observed[index - 1] < OBSERVATION_LASTS
        return MarketStatus.ACTIVE if is_present else MarketStatus.PAUSED

    def quote(self, ticker: str, at: datetime) -> Quote | None:
        """The latest archived price at or before `at`, however old."""
        track = self._tracks[ticker]
        index = bisect_right(track.quotes, at, key=lambda quote: quote.observed_at)
        return track.quotes[index - 1] if index else None

    def answer(self, wire_model: str, ticker: str, at: datetime) -> WorldAnswer | None:
        """The archived forecast of the last hour, or a synthetic model's answer; ``None`` where there is neither."""
        if ticker not in self._tracks or self.status(ticker, at) is not MarketStatus.ACTIVE:
            return None
        if self.has_synthetic_models:
            spec = self._synthetic.get(wire_model)
            return None if spec is None else self._synthesize(spec, ticker, at)
        forecasts = self._tracks[ticker].forecasts.get(wire_model, ())
        index = bisect_right(forecasts, at, key=lambda forecast: forecast.asked_at)
        if index == 0 or at - forecasts[index - 1].asked_at >= OBSERVATION_LASTS:
            return None
        return _write_answer(forecasts[index - 1])

    def next_event_after(self, at: datetime) -> datetime | None:
        """The next observation, opening, close or settlement of any market."""
        index = bisect_right(self._events, at)
        return self._events[index] if index < len(self._events) else None

    def _synthesize(self, spec: SyntheticModel, ticker: str, at: datetime) -> WorldAnswer | None:
        quote = self.quote(ticker, at)
        price = None if quote is None else quote.mid
        if price is None:
            return None
        market = self.markets[ticker]
        truth = logit(min(max(price, _PRICE_CLIP), 1 - _PRICE_CLIP))
        if market.outcome is not None:
            goal = logit(_OUTCOME_P if market.outcome else 1 - _OUTCOME_P)
            truth += OUTCOME_SHARE * (goal - truth)
        span = max(self.ends_at - self.starts_at, _STEP)
        step = (at - self.starts_at) // _STEP
        lived = (at - self.starts_at) / span
        return draw_answer(spec, Occasion(self._seed, ticker, market.category, step, lived, sigmoid(truth)))

    def _count_forecasts(self) -> None:
        playable = [
            forecast
            for ticker, track in self._tracks.items()
            for forecasts in track.forecasts.values()
            for forecast in forecasts
            if self.status(ticker, forecast.asked_at) is MarketStatus.ACTIVE
        ]
        self.forecast_count = len(playable)
        self.failed_forecast_count = sum(forecast.p_yes is None for forecast in playable)


def _write_answer(forecast: ArchiveForecast) -> WorldAnswer:
    failure = None
    if forecast.p_yes is None:
        # the archive does not say how a call failed: half of them were unreadable here, the others never answered
        chance = uniform("failure", forecast.question_id, forecast.model, forecast.asked_at)
        failure = FailureKind.UNAVAILABLE if chance < 0.5 else FailureKind.UNREADABLE
    return WorldAnswer(
        p_yes=forecast.p_yes,
        failure=failure,
        latency_ms=forecast.latency_ms,
        input_tokens=forecast.input_tokens,
        output_tokens=forecast.output_tokens,
        cost_usd=forecast.cost_usd,
    )


def _collect_events(tracks: Mapping[str, Track]) -> list[datetime]:
    observed = {at for track in tracks.values() for at in track.observed}
    settled = {track.market.resolved_at for track in tracks.values() if track.market.resolved_at is not None}
    opened = {track.market.opened_at for track in tracks.values()}
    closed = {track.market.closes_at for track in tracks.values()}
    # questions may have opened years before the first observation and close centuries after the last
    first, last = min(observed), max(observed | settled)
    return sorted(at for at in observed | settled | opened | closed if first <= at <= last)
