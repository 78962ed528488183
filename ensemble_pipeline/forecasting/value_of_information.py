"""What one more answer is worth before it is heard.

Belongs here: expected values of hearing more. Does not: what an answer costs, and who is asked next (ensemble).
"""

import math

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import fraction


def logit_shift(standard_error: float, next_standard_error: float) -> float:
    """How far one more answer is expected to move the pooled log-odds: ``sqrt(s² - s'²)``.

    The pool before is the mean of what it will be; what it loses in variance is the variance of the step.

    Args:
        standard_error: s, of the pool as it stands, finite, ≥ 0.
        next_standard_error: s', with one member more, in [0, s].

    Returns:
        A standard deviation in log-odds, ≥ 0.

    Raises:
        InputError: an argument is out of range.

    Source: the law of total variance.

    >>> logit_shift(0.5, 0.3)
    0.4
    """
    if not 0 <= next_standard_error <= standard_error < math.inf:
        raise InputError(
            f"standard_error = {standard_error}, next_standard_error = {next_standard_error}; "
            "allowed: 0 <= next <= present < infinity"
        )
    return math.sqrt(standard_error**2 - next_standard_error**2)


def value_for_trading(edge: float, spread: float) -> float:
    """Expected gain per contract from deciding after one more answer: ``σ φ(d) + e Φ(d) - max(0, e)``, d = e/σ.

    A trade is worth ``max(0, e)`` now, and ``E max(0, e')`` with ``e' ~ N(e, σ²)`` after the answer.

    Args:
        edge: e, by how much the edge exceeds what is demanded, in dollars per contract, finite.
        spread: σ, how far the answer is expected to move it, in dollars, finite, ≥ 0.

    Returns:
        Dollars per contract, in [0, 0.4 σ]; largest where the decision hangs in the balance.

    Raises:
        InputError: an argument is not finite or the spread negative.

    Source: the unit normal loss integral, Raiffa and Schlaifer 1961, Applied Statistical Decision Theory.

    >>> round(value_for_trading(0.0, 0.1), 6), value_for_trading(0.3, 0.0)
    (0.039894, 0.0)
    >>> value_for_trading(0.05, 0.1) == value_for_trading(-0.05, 0.1) < value_for_trading(0.0, 0.1)
    True
    """
    if not (math.isfinite(edge) and 0 <= spread < math.inf):
        raise InputError(f"edge = {edge}, spread = {spread}; allowed: both finite, spread >= 0")
    if spread == 0:
        return 0.0
    # for either sign: what the other side of the decision would have been worth
    d = abs(edge) / spread
    density = math.exp(-d * d / 2) / math.sqrt(2 * math.pi)
    tail = math.erfc(d / math.sqrt(2)) / 2
    return max(0.0, spread * (density - d * tail))


def value_for_scoring(p: float, shift: float) -> float:
    """Expected gain in Brier score from one more answer: ``(p (1 - p) σ_z)²``.

    For where no price is known and nothing can be traded: the step of the probability, squared.

    Args:
        p: The pool's P(YES), in [0, 1].
        shift: σ_z, how far the answer is expected to move the log-odds, finite, ≥ 0; see `logit_shift`.

    Returns:
        Brier points, ≥ 0.

    Raises:
        InputError: an argument is out of range.

    >>> value_for_scoring(0.5, 0.4)
    0.010000000000000002
    """
    if not 0 <= shift < math.inf:
        raise InputError(f"shift = {shift} is out of range; allowed: finite and >= 0")
    return (fraction(p, "p") * (1 - p) * shift) ** 2
