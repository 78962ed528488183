"""Which models err together, and how much less two of a kind are worth than two that think apart.

Belongs here: correlations between models, and what they take off a weight. Does not: skill (ranking.py).
"""

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, refuse_where, require_shape, weights
from ensemble_pipeline.forecasting.uncertainty import MEMBER_CORRELATION

PRIOR_EVENTS = 30.0
"""How many events the usual correlation of two models counts beside the one seen."""


def residual_correlation(log_odds: ArrayLike, event: ArrayLike, recency: ArrayLike) -> FloatArray:
    """How alike models deviate from the panel: correlations of ``R_im = z_im - mean_k z_ik``, less each model's mean.

    Summed within an event with recency g and divided by the root of the event's weight, so that an event counts once.
    Deviations from a mean of K̄ models (its mean number) correlate by ``-1/(K̄-1)`` where the models have nothing in
    common: ``ρ ← (ρ + 1/(K̄-1)) / (1 + 1/(K̄-1))`` takes that out. Then drawn towards `MEMBER_CORRELATION`, which
    counts as much as `PRIOR_EVENTS` events. No outcome is needed: who says the same adds the same evidence.

    Args:
        log_odds: z, shape ``(n_questions, n_models)``, finite; NaN where a model is absent.
        event: Number of each question's event, integers ≥ 0, shape ``(n_questions,)``.
        recency: g, finite, ≥ 0, shape ``(n_questions,)``.

    Returns:
        Shape ``(n_models, n_models)``, symmetric, in [-1, 1], with 1 on the diagonal.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    Source: deviations from the panel's mean as in a two-way layout; the shrinkage is that of a mean of correlations.

    >>> import numpy as np
    >>> twins = [[1.0, 1.0, -1.0, 0.5], [-1.0, -1.0, 0.0, 2.0], [0.0, 0.0, 2.0, -1.0]] * 30
    >>> rho = residual_correlation(twins, np.arange(90), np.ones(90))
    >>> bool(rho[0, 1] > 0.8), bool(rho[0, 2] < rho[0, 1]), rho.diagonal().tolist()
    (True, True, [1.0, 1.0, 1.0, 1.0])
    """
    z = np.asarray(log_odds, dtype=np.float64)
    if z.ndim != 2:
        raise InputError(f"log_odds has shape {z.shape}; it must be (n_questions, n_models)")
    refuse_where(np.isinf(z), z, "log_odds", "is not finite")
    g = weights(recency, z.shape[:1], "recency")
    label = np.asarray(event)
    require_shape(label, z.shape[:1], "event")
    present = (~np.isnan(z)).sum(axis=1)
    z, g, label = z[present >= 2], g[present >= 2], label[present >= 2]
    n_models = z.shape[1]
    prior = np.full((n_models, n_models), MEMBER_CORRELATION)
    np.fill_diagonal(prior, 1.0)
    if len(z) == 0:
        return prior
    summed, weight = _by_event(z, g, label)
    seen = _correlation(summed)
    common = 1 / max(float(present[present >= 2].mean()) - 1, 1.0)
    seen = (seen + common) / (1 + common)
    # effective events of each pair, the rarer of the two
    n_eff = np.square(weight.sum(axis=0)) / np.maximum(np.square(weight).sum(axis=0), 1e-300)
    pair = np.minimum(n_eff[:, None], n_eff[None, :])
    rho = (pair * seen + PRIOR_EVENTS * prior) / (pair + PRIOR_EVENTS)
    np.fill_diagonal(rho, 1.0)
    clipped: FloatArray = np.clip(rho, -1.0, 1.0)
    return clipped


def discounted(weight: ArrayLike, correlation: ArrayLike) -> FloatArray:
    """Weights with what is said twice taken off: ``w_k / Σ_j max(0, ρ_kj)``, k itself included.

    Of two that always say the same each keeps half, so that a model entered twice weighs no more than once.

    Args:
        weight: Shape ``(n_models,)``, finite, ≥ 0.
        correlation: ρ, shape ``(n_models, n_models)``, in [-1, 1], with 1 on the diagonal.

    Returns:
        Shape ``(n_models,)``; not normalised.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    Source: the design effect of correlated answers (Kish 1965), taken by member.

    >>> discounted([1, 1, 1], [[1, 1, 0], [1, 1, 0], [0, 0, 1]]).tolist()
    [0.5, 0.5, 1.0]
    """
    given = np.asarray(weight, dtype=np.float64)
    w = weights(given, given.shape)
    rho = np.asarray(correlation, dtype=np.float64)
    if w.ndim != 1 or rho.shape != (len(w), len(w)):
        raise InputError(f"weight has shape {w.shape}, correlation {rho.shape}; allowed: (n_models,) and its square")
    refuse_where(~(np.abs(rho) <= 1), rho, "correlation", "is no correlation; allowed: -1 to 1")
    lighter: FloatArray = w / np.maximum(rho, 0.0).sum(axis=1)
    return lighter


def _by_event(z: FloatArray, g: FloatArray, label: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Deviations summed within events, and the weight of each model in each event."""
    is_there = ~np.isnan(z)
    count = is_there.sum(axis=1, keepdims=True)
    known = np.where(is_there, z, 0.0)
    deviation = known - known.sum(axis=1, keepdims=True) / count
    weighted = is_there * g[:, None]
    total = weighted.sum(axis=0)
    own = (weighted * deviation).sum(axis=0) / np.where(total > 0, total, 1.0)
    names, index = np.unique(label, return_inverse=True)
    summed, weight = (np.zeros((len(names), z.shape[1])) for _ in range(2))
    np.add.at(summed, index, weighted * (deviation - own))
    np.add.at(weight, index, weighted)
    return np.where(weight > 0, summed / np.sqrt(np.where(weight > 0, weight, 1.0)), 0.0), weight


def _correlation(summed: FloatArray) -> FloatArray:
    cross = summed.T @ summed
    scale = np.sqrt(np.diag(cross))
    norm = np.outer(scale, scale)
    # who never deviates has nothing to be alike in
    found: FloatArray = np.where(norm > 0, cross / np.where(norm > 0, norm, 1.0), 0.0)
    return found
