"""The root of an increasing function: the minimum of a convex one is where its slope crosses zero."""

from collections.abc import Callable

_MAX_STEPS = 200  # bisection alone needs some 60 from a bracket of ordinary size
_TOLERANCE = 1e-12


def root_of_increasing(
    function: Callable[[float], tuple[float, float]], low: float, high: float, *, start: float
) -> float:
    """Find where an increasing function crosses zero: Newton's method inside a bracket that every step narrows.

    Where Newton would leave the bracket, it is halved instead, so that no start is a bad one.

    Args:
        function: Takes x, returns its value and its derivative there, which is positive.
        low: Left end of the bracket, finite.
        high: Right end, finite; the root does not lie above it.
        start: Where to begin, in [low, high].

    Returns:
        The root to some twelve digits; `low` where the function is positive throughout.

    Source: Press et al. 2007, Numerical Recipes, 9.4 (safe Newton-Raphson).

    >>> round(root_of_increasing(lambda x: (x**2 - 2, 2 * x), 0.5, 2, start=1), 12)
    1.414213562373
    >>> root_of_increasing(lambda x: (x + 5, 1), 0, 2, start=1)
    0
    """
    if function(low)[0] >= 0:
        return low
    x = start
    for _ in range(_MAX_STEPS):
        value, derivative = function(x)
        if value == 0:
            return x
        low, high = (x, high) if value < 0 else (low, x)
        newton = x - value / derivative
        step_to = newton if low < newton < high else (low + high) / 2
        if abs(step_to - x) <= _TOLERANCE * max(1.0, abs(x)):
            return step_to
        x = step_to
    return x
