r"""Markets of synthetic worlds: readable questions with a latent truth, a price around it and an outcome.

Belongs here: drawing markets. Does not: models and the passing of time (see ``sandbox.synthetic``).

The truth of a market is a martingale: hidden evidence :math:`x` does a random walk, and the probability at step *t*
is :math:`\Phi(x_t / \sigma_t)` with :math:`\sigma_t^2` the variance still to come, the last unit of it at the
close. So the latent probability is exactly calibrated at every step, and the outcome is drawn from the path's end.
Markets of one event ask for rising thresholds of one quantity and share walk and final draw: they never contradict.

Luck is spread evenly: the totals of walk and final draw follow a golden-ratio sequence through the quantiles, event
by event, and each walk is drawn given its total. A single event is as random as ever; over many, outcomes come as
often as their probabilities say, so that few settled markets suffice to tell skill from luck.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from ensemble_pipeline.domain import Quote
from ensemble_pipeline.sandbox.chance import logit, normal_cdf, normal_quantile, sigmoid, uniform
from ensemble_pipeline.sandbox.synthetic_series import PLACES, SERIES, Series
from ensemble_pipeline.sandbox.world import WorldMarket

STEP = timedelta(hours=6)
STEPS_PER_DAY = 4
_WALK_SD = 0.35  # hidden evidence per step, against 1 for the draw at the close
_LADDER_LOGIT = 0.9  # how much less likely the next higher threshold is at the opening
_PRICE_NOISE = 0.8  # the market's own error in log-odds, most of it lasting: there is something to know better
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class SyntheticMarket:
    """A drawn market: from `first_step` on, one latent probability and one quote per step up to the close."""

    market: WorldMarket
    first_step: int
    latent: tuple[float, ...]
    quotes: tuple[Quote, ...]


@dataclass(frozen=True, slots=True)
class _Event:
    ticker: str
    series: Series
    first_step: int
    life: int
    opened_at: datetime
    place: str
    first_level: int
    luck: float


def draw_markets(seed: int, days: int, markets_per_day: int, starts_at: datetime) -> Iterator[SyntheticMarket]:
    """Draw `markets_per_day` markets for each day but the last, so that all settle within `days` days.

    A market opens and closes on the 6-hour grid, lives 1 to 5 days and settles one step after its close.
    """
    last_step = days * STEPS_PER_DAY
    namesakes: Counter[tuple[str, int]] = Counter()
    number = 0
    for day in range(days - 1):
        drawn = 0
        while drawn < markets_per_day:
            size = min(1 + int(3 * uniform(seed, "size", day, drawn)), markets_per_day - drawn)
            luck = (uniform(seed, "luck") + number * _GOLDEN_RATIO) % 1.0
            event = _draw_event(seed, (day, drawn), luck, last_step, starts_at, namesakes)
            number += 1
            yield from _draw_ladder(seed, event, size)
            drawn += size


def _draw_event(
    seed: int,
    place: tuple[int, int],
    luck: float,
    last_step: int,
    starts_at: datetime,
    namesakes: Counter[tuple[str, int]],
) -> _Event:
    series = SERIES[int(len(SERIES) * uniform(seed, "series", *place))]
    first = place[0] * STEPS_PER_DAY + int(STEPS_PER_DAY * uniform(seed, "open", *place))
    life = STEPS_PER_DAY + int((4 * STEPS_PER_DAY + 1) * uniform(seed, "life", *place))
    life = min(life, last_step - 1 - first)
    closing_day = (first + life) // STEPS_PER_DAY
    # events of one series that close on the same day ask about different places, or they could contradict
    turn = closing_day + namesakes[series.ticker, closing_day]
    namesakes[series.ticker, closing_day] += 1
    return _Event(
        ticker=f"{series.ticker}-{place[0]:03d}{place[1]:02d}",
        series=series,
        first_step=first,
        life=life,
        opened_at=starts_at + first * STEP,
        place=PLACES[turn % len(PLACES)],
        first_level=series.start + series.stride * int(5 * uniform(seed, "level", *place)),
        luck=luck,
    )


def _draw_ladder(seed: int, event: _Event, size: int) -> Iterator[SyntheticMarket]:
    rng = np.random.default_rng(int(uniform(seed, "walk", event.ticker) * 2**53))
    walk = np.concatenate(([0.0], np.cumsum(rng.normal(0.0, _WALK_SD, event.life))))
    sd_left = np.sqrt(1.0 + _WALK_SD**2 * np.arange(event.life, -1, -1))
    opening_logit = rng.normal(0.3, 1.2)
    final = rng.normal()
    # a Gaussian walk given its total: each part takes a share of the difference in proportion to its variance
    total = normal_quantile(min(max(event.luck, 1e-9), 1 - 1e-9)) * sd_left[0]
    missing = (total - walk[-1] - final) / sd_left[0] ** 2
    walk = walk + missing * _WALK_SD**2 * np.arange(event.life + 1)
    final += missing
    for rung in range(size):
        evidence = walk + normal_quantile(sigmoid(opening_logit - _LADDER_LOGIT * rung)) * sd_left[0]
        latent = tuple(min(max(normal_cdf(x / sd), 0.002), 0.998) for x, sd in zip(evidence, sd_left, strict=True))
        market = _write_market(event, rung, bool(evidence[-1] + final > 0), is_alone=size == 1)
        yield SyntheticMarket(market, event.first_step, latent, _draw_quotes(rng, latent, event.opened_at))


def _write_market(event: _Event, rung: int, outcome: bool, *, is_alone: bool) -> WorldMarket:
    level = event.first_level + event.series.stride * rung
    closes_at = event.opened_at + event.life * STEP
    words = {"place": event.place, "level": level, "day": f"{closes_at:%d %B %Y}".lstrip("0")}
    return WorldMarket(
        ticker=f"{event.ticker}-T{level}",
        event_ticker=event.ticker,
        series_ticker=event.series.ticker,
        category=event.series.category,
        question=event.series.question.format(**words),
        rules=event.series.rules.format(**words),
        opened_at=event.opened_at,
        closes_at=closes_at,
        resolved_at=closes_at + STEP,
        outcome=outcome,
        event_title="" if is_alone else event.series.title.format(**words),
        outcome_label="" if is_alone else event.series.label.format(**words),
    )


def _draw_quotes(rng: np.random.Generator, latent: tuple[float, ...], opened_at: datetime) -> tuple[Quote, ...]:
    lasting = rng.normal(0.0, _PRICE_NOISE * 0.8)
    passing = rng.normal(0.0, _PRICE_NOISE * 0.6, len(latent))
    spreads = rng.integers(1, 5, len(latent))
    volumes = np.cumsum(np.exp(rng.normal(6.9 + rng.normal(0.0, 0.9), 0.8, len(latent))))
    quotes = []
    for step, p in enumerate(latent):
        cents = 100.0 * sigmoid(logit(p) + lasting + passing[step])
        spread = int(spreads[step])
        bid = min(max(round(cents - spread / 2), 1), 99 - spread)
        last = min(max(round(cents), bid), bid + spread)
        quotes.append(
            Quote(
                observed_at=opened_at + step * STEP,
                yes_bid=bid * _CENT,
                yes_ask=(bid + spread) * _CENT,
                last_price=last * _CENT,
                volume=Decimal(int(volumes[step])),
            )
        )
    return tuple(quotes)
