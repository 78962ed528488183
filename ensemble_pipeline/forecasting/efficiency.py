"""What a dollar buys: skill gained per dollar, with an interval, and costs of which little is known.

Belongs here: formulas of cost and skill together. Does not: where skill comes from (ranking.py, segments.py), where
costs are booked (the ledger).
"""

import math
from dataclasses import dataclass

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import fraction
from ensemble_pipeline.forecasting.intervals import normal_quantile


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """A ratio and the ends of its interval, which are infinite where the denominator may be zero."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CostPerAnswer:
    """What one usable answer costs on average, failures included, and the standard error of that."""

    mean: float
    standard_error: float


def gain_per_cost(gain: float, gain_error: float, cost: float, cost_error: float, level: float = 0.95) -> RatioInterval:
    """Skill gained per unit of cost: ``g / c`` with Fieller's interval, the r for which ``|g - r c| ≤ z s_r``.

    ``s_r² = s_g² + r² s_c²``; the ends are ``(g c ± z sqrt(a s_g² + g² s_c²)) / a`` with ``a = c² - z² s_c²``. Gain and
    cost are taken to err independently.

    Args:
        gain: g, Brier points, finite.
        gain_error: s_g ≥ 0, its standard error.
        cost: c > 0, in any unit.
        cost_error: s_c ≥ 0, its standard error.
        level: Share of such intervals that cover the truth, in (0, 1), if one looks once.

    Returns:
        The ratio and its interval; infinite ends where the cost itself is not shown to differ from zero. Smallest
        useful n: where the cost is known to a third of itself.

    Raises:
        InputError: an argument is out of range.

    Source: Fieller 1954, Journal of the Royal Statistical Society B 16(2).

    >>> found = gain_per_cost(0.08, 0.01, 0.002, 0.0)
    >>> round(found.ratio, 6), round(found.low, 3), round(found.high, 3)
    (40.0, 30.2, 49.8)
    """
    if not (math.isfinite(gain) and 0 <= gain_error < math.inf and 0 < cost < math.inf and 0 <= cost_error < math.inf):
        raise InputError(
            f"gain = {gain} ± {gain_error}, cost = {cost} ± {cost_error}; allowed: finite, errors >= 0, cost > 0"
        )
    z = normal_quantile((1 + fraction(level, "level", is_open=True)) / 2)
    a = cost**2 - (z * cost_error) ** 2
    if a <= 0:
        return RatioInterval(gain / cost, -math.inf, math.inf)
    root = z * math.sqrt(a * gain_error**2 + (gain * cost_error) ** 2)
    return RatioInterval(gain / cost, (gain * cost - root) / a, (gain * cost + root) / a)


def cost_per_answer(
    answers: int,
    total: float,
    total_squared: float,
    total_of_answered: float,
    prior: float = 0.0,
    weight: float = 0.0,
    prior_error: float = 0.0,
) -> CostPerAnswer:
    """Cost of one usable answer, ``R = ΣX / ΣA`` over calls, failures included, drawn towards what is known elsewhere.

    X is a call's cost, A whether it was answered. ``R' = (ΣX + w p) / (ΣA + w)`` with prior p ± s_p of weight w
    answers; its standard error ``sqrt(Σ(X - R A)² + (w s_p)²) / (ΣA + w)``, without a prior that of a ratio estimate.

    Args:
        answers: ΣA ≥ 0.
        total: ΣX ≥ 0.
        total_squared: ΣX² ≥ 0.
        total_of_answered: ΣXA, in [0, `total`].
        prior: p ≥ 0.
        weight: w ≥ 0, in answers; with none of either there is nothing to say.
        prior_error: Standard error s_p ≥ 0 of the prior.

    Returns:
        Mean and standard error in the unit of X.

    Raises:
        InputError: an argument is out of range, or neither answers nor a prior are given.

    Source: Cochran 1977, Sampling Techniques, 3rd edition, chapter 6.

    >>> cost_per_answer(2, 30.0, 500.0, 30.0)
    CostPerAnswer(mean=15.0, standard_error=3.5355339059327378)
    >>> cost_per_answer(0, 0.0, 0.0, 0.0, prior=12.0, weight=20, prior_error=2.0)
    CostPerAnswer(mean=12.0, standard_error=2.0)
    """
    given = (answers, total, total_squared, total_of_answered, prior, weight, prior_error)
    if not all(0 <= it < math.inf for it in given) or total_of_answered > total:
        raise InputError(
            f"answers = {answers}, total = {total}, total_squared = {total_squared}, total_of_answered = "
            f"{total_of_answered}, prior = {prior} ± {prior_error}, weight = {weight}; allowed: finite, none "
            "negative, total_of_answered at most total"
        )
    if answers + weight <= 0:
        raise InputError("answers + weight = 0: neither an answer nor a prior to say what one costs")
    mean = (total + weight * prior) / (answers + weight)
    if not answers:
        return CostPerAnswer(mean, prior_error)
    own = total / answers
    spread = max(0.0, total_squared - 2 * own * total_of_answered + own**2 * answers)
    return CostPerAnswer(mean, math.hypot(math.sqrt(spread), weight * prior_error) / (answers + weight))
