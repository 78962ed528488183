"""Chance that repeats itself: numbers drawn from a hash of what they belong to, never from a generator's state.

Belongs here: uniform and normal draws, the logistic pair. Does not: anything that knows a market or a model.
"""

import hashlib
import math
from statistics import NormalDist

_STANDARD = NormalDist()
_STEPS = 2.0**53


def uniform(*parts: object) -> float:
    """A number strictly between 0 and 1 that depends on `parts` alone (their texts and their order).

    >>> uniform("a", 1) == uniform("a", 1)
    True
    """
    text = "\x1f".join(map(str, parts))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) / _STEPS


def normal(*parts: object) -> float:
    """A standard normal draw that depends on `parts` alone."""
    return _STANDARD.inv_cdf(uniform(*parts))


def normal_cdf(x: float) -> float:
    """Share of the standard normal below `x`, in [0, 1].

    >>> normal_cdf(0.0)
    0.5
    """
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def normal_quantile(p: float) -> float:
    """The point with share `p` of the standard normal below it; `p` strictly between 0 and 1."""
    return _STANDARD.inv_cdf(p)


def logit(p: float) -> float:
    """Log-odds of `p`, which lies strictly between 0 and 1.

    >>> logit(0.5)
    0.0
    """
    return math.log(p) - math.log1p(-p)


def sigmoid(x: float) -> float:
    """Probability with log-odds `x`; the inverse of `logit`, free of overflow.

    >>> sigmoid(0.0)
    0.5
    """
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)
