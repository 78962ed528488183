"""When the cascade stops asking: once the expected value of one more answer is below its price.

Belongs here: the rule, applied to answers as they come in and, with the same result, to answers that lie before us.
Does not: asking (consult.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.forecasting import pooling
from ensemble_pipeline.forecasting.extremizing import extremized_pool
from ensemble_pipeline.forecasting.uncertainty import effective_count, independent_members
from ensemble_pipeline.forecasting.value_of_information import logit_shift, value_for_scoring, value_for_trading

Floats = NDArray[np.float64]
Weigh: TypeAlias = Callable[[Sequence[str]], Floats]
"""Weights, summing to 1, of the members named."""

# a side that costs less than a cent is not bought by the hundred thousand
_LEAST_COST = 0.01
_LEVEL = 1e-9


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the cascade weighs: the order of asking, what each answer may cost, and what is at stake.

    Money in micro-dollars. `demanded_edge` in dollars per contract, `market_weight` the ensemble's against the price.
    """

    order: tuple[str, ...]
    worst_case_micro_usd: Mapping[str, int] = field(default_factory=dict)
    stake_micro_usd: int = 0
    market_weight: float = 1.0
    demanded_edge: float = 0.0
    clip: float = pooling.MEMBER_CLIP
    gap_scale: float = pooling.PRICE_GAP_SCALE


def answers_to_hear(
    names: Sequence[str], p_yes: Floats, weigh: Weigh, price: float | None, bounds: Bounds
) -> tuple[str, ...]:
    """Of the members that answered, those that the cascade hears before it stops, in the order of asking."""
    place = {name: index for index, name in enumerate(names)}
    # who was asked outside the order (a stand-in, a former plan's member) comes after it
    order = [name for name in (*bounds.order, *sorted({*names} - {*bounds.order})) if name in place]
    for heard in range(1, len(order)):
        said = p_yes[[place[name] for name in order[:heard]]]
        if not is_worth_asking(order[heard], said, weigh(order[:heard]), price, bounds):
            return tuple(order[:heard])
    return tuple(order)


def is_worth_asking(name: str, p_yes: Floats, weight: Floats, price: float | None, bounds: Bounds) -> bool:
    """Whether an answer of `name` is worth its price, after those heard so far."""
    cost = bounds.worst_case_micro_usd.get(name, 0)
    # a free answer is heard even where it cannot move anything
    return cost == 0 or value_of_next_micro_usd(p_yes, weight, price, bounds) > cost


def value_of_next_micro_usd(p_yes: Floats, weight: Floats, price: float | None, bounds: Bounds) -> float:
    """Expected value of one more answer in micro-dollars, from what was heard so far."""
    pooled, error = extremized_pool(p_yes, weight, clip=bounds.clip)
    count = effective_count(weight)
    # with one member more the spread stays and the number of independent ones grows
    next_error = error * math.sqrt(independent_members(count) / independent_members(count + 1))
    shift = logit_shift(error, next_error)
    if price is None:
        return bounds.stake_micro_usd * value_for_scoring(pooled, shift)
    p_final = pooling.anchor_to_price(pooled, price, bounds.market_weight, bounds.clip, bounds.gap_scale)
    edge = abs(p_final - price) - bounds.demanded_edge
    step = p_final * (1 - p_final) * bounds.market_weight * shift
    ahead = p_final - price
    # level with the price, but for rounding, either side may be bought: the cheaper one, as in the mirrored market
    side = min(price, 1 - price) if abs(ahead) < _LEVEL else price if ahead > 0 else 1 - price
    cost = max(side, _LEAST_COST)
    contracts = bounds.stake_micro_usd / MICRO_PER_USD / cost
    return contracts * MICRO_PER_USD * value_for_trading(edge, step)
