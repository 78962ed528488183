"""The pictures of a backtest's page: what a walk came to, laid out for the plots.

Belongs here: which rows a picture shows. Does not: how it is drawn (plots).
"""

from collections.abc import Iterator
from datetime import datetime

import numpy as np

from ensemble_pipeline.forecasting.intervals import bootstrap_interval
from ensemble_pipeline.forecasting.reliability import null_band, reliability_bins
from ensemble_pipeline.forecasting.scoring import brier_score
from ensemble_pipeline.pipeline.backtest_tables import SAID
from ensemble_pipeline.pipeline.plots.differences import Difference, differences_drawing
from ensemble_pipeline.pipeline.plots.lines import MOST_LINES, Line, shares_drawing
from ensemble_pipeline.pipeline.plots.reliability import Bin, reliability_drawing
from ensemble_pipeline.pipeline.plots.svg import Drawing
from ensemble_pipeline.replay.backtest.learnt import Integers
from ensemble_pipeline.replay.backtest.scores import Floats, Scored
from ensemble_pipeline.replay.backtest.walk import Walk

_STEPS = 120  # at most so many times in a picture of weights


def differences(rows: Scored) -> Iterator[Drawing]:
    """The ensemble against everybody who had no price, and, where there are prices, against what they say."""
    without = rows.said["ensemble_without_market"]
    members = [_difference(name, without, rows.members[:, i], rows) for i, name in enumerate(rows.names)]
    members.sort(key=lambda it: (np.isnan(it.estimate), it.estimate, it.name))
    means = [
        _difference(SAID[name], without, rows.said[name], rows) for name in ("plain_mean", "median", "log_odds_mean")
    ]
    subject = "the ensemble without the price"
    drawn = differences_drawing("Nobody sees the price", subject, [("ways to pool", means), ("members", members)])
    if drawn is not None:
        yield drawn
    priced = ~np.isnan(rows.said["market"])
    if priced.any():
        ensemble = np.where(priced, rows.said["ensemble"], np.nan)
        others = [_difference(SAID[n], ensemble, rows.said[n], rows) for n in SAID if n != "ensemble"]
        drawn = differences_drawing(
            "The ensemble sees the price; only rows that have one", "the ensemble with the price", [("others", others)]
        )
        if drawn is not None:
            yield drawn


def _difference(name: str, mine: Floats, other: Floats, rows: Scored) -> Difference:
    both = ~np.isnan(mine) & ~np.isnan(other)
    outcome, event = rows.outcome[both], rows.event[both]
    gap = brier_score(mine[both], outcome) - brier_score(other[both], outcome)
    estimate = float(gap.mean()) if gap.size else np.nan
    return Difference(name, estimate, bootstrap_interval(gap, event), len(gap), len(np.unique(event)))


def reliability(walk: Walk, rows: Scored) -> Iterator[Drawing]:
    """Whether it came true as often as said: without the price, and with it and the price itself where there is one."""
    market = walk.codes.market[rows.rows]
    priced = ~np.isnan(rows.said["market"])
    for name, keep in (("ensemble_without_market", ~np.zeros_like(priced)), ("ensemble", priced), ("market", priced)):
        drawn = _reliability(SAID[name].capitalize(), rows.said[name][keep], rows.outcome[keep], market[keep])
        if drawn is not None:
            yield drawn


def _reliability(words: str, said: Floats, outcome: Integers, market: Integers) -> Drawing | None:
    if not said.size:
        return None
    table = reliability_bins(said, outcome)
    # forecasts of one market come true or fail together
    band = null_band(said, cluster=market)
    columns = (table.lower, table.upper, table.n, table.mean_p, table.mean_outcome, band.low, band.high)
    return reliability_drawing(
        [Bin(*each) for each in zip(*(column.tolist() for column in columns), strict=True)], words=words
    )


def weights(walk: Walk) -> Drawing | None:
    """The members' weights in the settings' own strategy; ``None`` where there is but one time, or no answer."""
    names = [member.name for member in walk.played.members]
    times, shares = _over_time([row.at for row in walk.played.rows], _weight_where_answered(walk, names))
    mean = {i: float(np.nanmean(each)) for i, each in enumerate(shares.T) if np.isfinite(each).any()}
    heaviest = sorted(mean, key=lambda i: -mean[i])[:MOST_LINES]
    lines = [Line(names[i], shares[:, i].tolist()) for i in heaviest]
    return shares_drawing("Weights of the members", times, lines, 1 / len(names))


def _weight_where_answered(walk: Walk, names: list[str]) -> Floats:
    place = {name: index for index, name in enumerate(names)}
    weight = np.full(walk.tracks[0].weight.shape, np.nan)
    for row in walk.played.rows:
        answered = [place[answer.model_id] for answer in row.answers]
        weight[row.number, answered] = walk.tracks[0].weight[row.number, answered]
    return weight


def _over_time(asked_at: list[datetime], weight: Floats) -> tuple[list[datetime], Floats]:
    """Mean weights of rows asked about the same time: the period in equal steps, without those that hold no rows."""
    first, last = asked_at[0], asked_at[-1]
    step = (last - first) / _STEPS
    index = [min(_STEPS - 1, int((at - first) / step)) if step else 0 for at in asked_at]
    _, start, step_of = np.unique(index, return_index=True, return_inverse=True)
    total = np.zeros((len(start), weight.shape[1]))
    n = np.zeros_like(total)
    np.add.at(total, step_of, np.nan_to_num(weight))
    np.add.at(n, step_of, ~np.isnan(weight))
    return [asked_at[i] for i in start], total / np.where(n > 0, n, np.nan)
