"""The five ways in which answers become one P(YES). All pool on P(YES), so mirroring a market mirrors its decision.

===================  =================================================================================================
weighted voting      log-odds pool with the weights that skill earned, stretched for what members know apart
consensus            the same pool; it counts only where enough weight stands on one side of the price
confidence-based     the same with each weight times the member's calibrated confidence
cascading            members are heard in the order of their utility until one more answer is not worth its price
uncertainty-aware    the pool drawn towards even odds by as much as its standard error makes it doubtful
===================  =================================================================================================
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import Strategy
from ensemble_pipeline.ensemble.cascade import Bounds, Weigh, answers_to_hear
from ensemble_pipeline.forecasting.extremizing import extremized_pool
from ensemble_pipeline.forecasting.pooling import shrink_log_odds
from ensemble_pipeline.settings import EnsembleSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Panel:
    """What was heard on one market: P(YES), calibrated confidence and weight of each member, the names in order.

    `price` is the market's probability of YES, ``None`` where none is known. `weigh` gives the weights of some of the
    members alone, `bounds` is what the cascade weighs.
    """

    names: tuple[str, ...]
    p_yes: Floats
    confidence: Floats
    weight: Floats
    price: float | None
    weigh: Weigh
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Vote:
    """What a strategy makes of a panel: the pooled P(YES), the weights it used (sum 1), and its standard error."""

    p_pooled: float
    weight: Floats
    standard_error: float


def vote(strategy: Strategy, panel: Panel, options: EnsembleSettings) -> Vote:
    """Pool a panel by a strategy."""
    return _STRATEGIES[strategy](panel, options)


def agreement(panel: Panel, weight: Floats) -> float:
    """Share of the weight on the larger side of the price, or of even odds; who is neutral counts half to each."""
    middle = 0.5 if panel.price is None else panel.price
    above, below = math.fsum(weight[panel.p_yes > middle]), math.fsum(weight[panel.p_yes < middle])
    # whoever is neutral counts half to each; to the twelfth digit, so that a mirrored market meets a threshold alike
    return min(1.0, round(0.5 + abs(above - below) / 2, 12))


def _weighted_voting(panel: Panel, options: EnsembleSettings) -> Vote:
    return _pooled(panel, panel.weight, options)


def _confidence_based(panel: Panel, options: EnsembleSettings) -> Vote:
    weight = panel.weight * panel.confidence
    return _pooled(panel, weight / weight.sum() if weight.any() else panel.weight, options)


def _cascading(panel: Panel, options: EnsembleSettings) -> Vote:
    heard = answers_to_hear(panel.names, panel.p_yes, panel.weigh, panel.price, panel.bounds)
    weight = np.zeros_like(panel.p_yes)
    weight[[panel.names.index(name) for name in heard]] = panel.weigh(heard)
    return _pooled(panel, weight, options)


def _uncertainty_aware(panel: Panel, options: EnsembleSettings) -> Vote:
    plain = _weighted_voting(panel, options)
    drawn = shrink_log_odds(plain.p_pooled, plain.standard_error, options.spread_of_truth, options.clip)
    return Vote(drawn, plain.weight, plain.standard_error)


def _pooled(panel: Panel, weight: Floats, options: EnsembleSettings) -> Vote:
    pooled = extremized_pool(panel.p_yes, weight, clip=options.clip)
    return Vote(pooled.p_yes, weight, pooled.standard_error)


_STRATEGIES: dict[Strategy, Callable[[Panel, EnsembleSettings], Vote]] = {
    Strategy.CONSENSUS: _weighted_voting,
    Strategy.WEIGHTED_VOTING: _weighted_voting,
    Strategy.CONFIDENCE_BASED: _confidence_based,
    Strategy.CASCADING: _cascading,
    Strategy.UNCERTAINTY_AWARE: _uncertainty_aware,
}
