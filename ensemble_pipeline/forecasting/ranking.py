"""From scored answers to trust: paired differences, shrunk skill, bounded weights.

Belongs here: comparing models on the same questions and turning the comparison into weights. Does not: scores of a
model on its own (scoring.py), pooling with the weights (pooling.py). Skill is in Brier points; negative is better.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    IntArray,
    finite,
    outcomes,
    positive,
    probabilities,
    refuse_where,
    weights,
)
from ensemble_pipeline.forecasting.redundancy import discounted
from ensemble_pipeline.forecasting.water_filling import share_within

SKILL_SPREAD = 0.008
"""Spread of models' true skill against the panel, in Brier points, as measured between language models."""

DIFFERENCE_SD = 0.075
"""Standard deviation of one event's difference to the panel; measured between members: .055 to .09."""

DIFFERENCE_SD_EVENTS = 10.0
"""How many events that standard deviation counts beside the one seen."""

_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class SkillEstimate:
    """Per model, shape ``(n_models,)``: weighted mean difference, its standard error, rows, events, effective events.

    `delta` is NaN where n = 0, `standard_error` where fewer than two clusters say anything about it.
    """

    delta: FloatArray
    standard_error: FloatArray
    n: IntArray
    events: IntArray
    n_eff: FloatArray


def recency_weights(age_in_resolutions: ArrayLike, half_life: float) -> FloatArray:
    """Weight of a score by its age: ``2^(-age / H)``.

    Args:
        age_in_resolutions: How many events (or forecasts, where they stand alone) resolved since, any shape, finite,
            ≥ 0; NaN is refused.
        half_life: H, in resolutions, > 0. Short memories cost more than they save: at H = 30 weights are as bad as
            equal ones, 100 to 300 suit a slow drift.

    Returns:
        Weights in [0, 1], same shape; their effective number approaches 2.9 H.

    Raises:
        InputError: an age is negative or not finite, or `half_life` is not positive.

    >>> recency_weights([0, 300, 600], 300).tolist()
    [1.0, 0.5, 0.25]
    """
    age = np.asarray(age_in_resolutions, dtype=np.float64)
    half_lives = weights(age, age.shape, "age_in_resolutions") / positive(half_life, "half_life")
    weight: FloatArray = np.exp2(-half_lives)
    return weight


def panel_differences(p_yes: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Each model's Brier score against the panel's on the same question: ``D_im = B_im - mean_k B_ik``.

    The mean runs over the models present, the model itself included, so that a question's difficulty drops out.

    Args:
        p_yes: P(YES), shape ``(n_questions, n_models)``, in [0, 1]; NaN where a model is absent.
        outcome: 0 or 1, shape ``(n_questions,)``.

    Returns:
        Differences in (-1, 1), same shape as `p_yes`; negative is better than the panel. NaN where the model is
        absent and in rows with fewer than two models.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    >>> panel_differences([[0.8, 0.6], [0.5, float("nan")]], [1, 1]).round(12).tolist()
    [[-0.06, 0.06], [nan, nan]]
    """
    p = probabilities(p_yes, "p_yes", has_gaps=True)
    if p.ndim != 2:
        raise InputError(f"p_yes has shape {p.shape}; it must be (n_questions, n_models)")
    brier = np.square(p - outcomes(outcome, p.shape[:1])[:, None])
    n_present = (~np.isnan(brier)).sum(axis=1, keepdims=True)
    panel_mean = np.nansum(brier, axis=1, keepdims=True) / np.where(n_present >= 2, n_present, np.nan)
    difference: FloatArray = brier - panel_mean
    return difference


def level_panels(difference: ArrayLike, recency: ArrayLike) -> FloatArray:
    """Differences as if every question had been put to the same panel: ``D'_im = D_im + mean_{k in i} b_k``.

    A model that was only ever asked beside the best looks worse than it is. The two-way model ``B_im = a_i + b_m``
    (question difficulty, model level) removes that: b solves the weighted least-squares normal equations
    ``Σ_i g_i (D_im + mean_{k in i} b_k - b_m) = 0``, so that the weighted mean of D' per model is b. Where every
    model answered every question nothing changes.

    Args:
        difference: Shape ``(n_questions, n_models)``, see `panel_differences`; NaN where there is none.
        recency: Weights g, finite, ≥ 0, shape ``(n_questions,)``.

    Returns:
        Levelled differences, same shape, NaN where `difference` is. Models that no chain of shared questions
        connects are compared with the mean of their own group only.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    Source: two-way fixed effects, as ForecastBench adjusts for difficulty (its leaderboard code).

    >>> d = [[-0.1, 0.1, float("nan")], [float("nan"), -0.1, 0.1]]
    >>> (level_panels(d, [1, 1]).round(12) + 0.0).tolist()
    [[-0.2, 0.0, nan], [nan, 0.0, 0.2]]
    """
    d = np.asarray(difference, dtype=np.float64)
    if d.ndim != 2:
        raise InputError(f"difference has shape {d.shape}; it must be (n_questions, n_models)")
    refuse_where(np.isinf(d), d, "difference", "is not finite")
    g = weights(recency, d.shape[:1], "recency")
    is_scored = ~np.isnan(d)
    share = is_scored / np.maximum(is_scored.sum(axis=1, keepdims=True), 1)
    weighted = is_scored * g[:, None]
    normal = np.diag(weighted.sum(axis=0)) - weighted.T @ share
    # levels are free up to a constant of each group: that direction's eigenvalue is 0 but for rounding, and stays out
    level = np.linalg.pinv(normal, hermitian=True, rcond=_RANK_TOLERANCE) @ (
        weighted * np.where(is_scored, d, 0.0)
    ).sum(axis=0)
    levelled: FloatArray = d + (share @ level)[:, None]
    return levelled


def estimate_skill(difference: ArrayLike, cluster: ArrayLike, recency: ArrayLike) -> SkillEstimate:
    """Recency-weighted mean difference per model, ``δ = Σ g D / Σ g``, with a standard error clustered by event.

    ``s² = G/(G-1) · Σ_c (Σ_{i in c} g_i (D_i - δ))² / (Σ g)²`` over G clusters: questions of one event err together
    and count as one. ``n_eff = (Σ_c G_c)² / Σ_c G_c²`` with ``G_c = Σ_{i in c} g_i``: the effective number of events.

    Args:
        difference: Shape ``(n_questions, n_models)``, see `panel_differences`; NaN where there is none.
        cluster: Event of each question, any sortable labels, shape ``(n_questions,)``.
        recency: Weights g, finite, ≥ 0, shape ``(n_questions,)``, or ``(n_questions, n_models)`` where each model
            ages by its own resolutions.

    Returns:
        Estimates per model. Paired differences scatter by some .075: a gap of .02 needs about 110 questions,
        one of .01 about 440; standard errors from fewer than some 20 clusters are too small on average.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    Source: Liang and Zeger 1986, Biometrika 73(1), for the clustered variance.

    >>> estimate = estimate_skill([[-0.06], [-0.02]], ["event a", "event b"], [1, 1])
    >>> estimate.delta.round(12).tolist(), estimate.standard_error.round(12).tolist(), estimate.n_eff.tolist()
    ([-0.04], [0.02], [2.0])
    """
    d = np.asarray(difference, dtype=np.float64)
    if d.ndim != 2:
        raise InputError(f"difference has shape {d.shape}; it must be (n_questions, n_models)")
    refuse_where(np.isinf(d), d, "difference", "is not finite")
    given = np.asarray(recency, dtype=np.float64)
    g = weights(given, d.shape if given.ndim == 2 else d.shape[:1], "recency")
    label = np.asarray(cluster)
    if label.shape != d.shape[:1]:
        raise InputError(f"cluster has shape {label.shape}; it must be {d.shape[:1]}")

    is_scored = ~np.isnan(d)
    g = np.where(is_scored, g if g.ndim == 2 else g[:, None], 0.0)
    total = _nan_for_zero(g.sum(axis=0))
    d = np.where(is_scored, d, 0.0)
    delta = (g * d).sum(axis=0) / total
    residual = g * (d - np.where(np.isnan(delta), 0.0, delta))
    per_cluster = _cluster_sums(g, label)
    events = (per_cluster > 0).sum(axis=0).astype(np.int64)
    standard_error = np.sqrt(_between_clusters(residual, events, label)) / total
    n_eff = np.square(g.sum(axis=0)) / _nan_for_zero(np.square(per_cluster).sum(axis=0))
    n = is_scored.sum(axis=0).astype(np.int64)
    return SkillEstimate(delta, standard_error, n, events, np.nan_to_num(n_eff, nan=0.0))


def shrink(delta: ArrayLike, se: ArrayLike, n_eff: ArrayLike, spread: float = SKILL_SPREAD) -> FloatArray:
    """Pull noisy differences towards 0, the panel's own: ``skill_m = δ_m τ² / (τ² + σ² / n_m)``.

    τ, how much models truly differ, is taken as known, and σ², the variance of one event's difference, is common to
    all models: ``σ² = (ν S² + n̄ mean_m(s_m² n_m)) / (ν + n̄)`` with S = `DIFFERENCE_SD`, ν = `DIFFERENCE_SD_EVENTS`
    and n̄ the mean of n. Estimating either from half a dozen models and a score of events lets noise name winners: a
    model that was lucky twice would show a small standard error besides.

    Args:
        delta: δ, differences to the panel's mean, shape ``(n_models,)``; NaN where a model has no data.
        se: s, standard errors ≥ 0, shape ``(n_models,)``; NaN where unknown.
        n_eff: n, effective events, shape ``(n_models,)``, finite, ≥ 0; below half an event a model has none.
        spread: τ, in Brier points, > 0.

    Returns:
        Skill per model; 0 where `delta` or `se` is NaN, or only one model has both. With 100 events a difference
        keeps about half of its size.

    Raises:
        InputError: an argument is out of range or the shapes differ.

    Source: the posterior mean of a normal skill; τ and S as measured between language models on the same questions.

    >>> shrink([-0.008, 0.008, float("nan")], [0.008, 0.008, 0.01], [87.890625, 87.890625, 5]).round(6).tolist()
    [-0.004, 0.004, 0.0]
    """
    d, s = np.asarray(delta, dtype=np.float64), np.asarray(se, dtype=np.float64)
    if d.ndim != 1 or d.shape != s.shape:
        raise InputError(f"delta has shape {d.shape}, se has shape {s.shape}; both must be (n_models,)")
    refuse_where(np.isinf(d), d, "delta", "is not finite")
    refuse_where(np.isinf(s) | (s < 0), s, "se", "is no standard error; allowed: finite and >= 0, or NaN")
    n = weights(n_eff, d.shape, "n_eff")
    tau_squared = positive(spread, "spread") ** 2
    is_known = ~(np.isnan(d) | np.isnan(s)) & (n > 0.5)
    skill = np.zeros_like(d)
    if is_known.sum() < 2:
        return skill
    n = n[is_known]
    seen = float(np.mean(np.square(s[is_known]) * n))
    noise = (DIFFERENCE_SD_EVENTS * DIFFERENCE_SD**2 + n.mean() * seen) / (DIFFERENCE_SD_EVENTS + n.mean())
    skill[is_known] = d[is_known] * tau_squared / (tau_squared + noise / n)
    return skill


def softmax_weights(
    skill: ArrayLike,
    n_eff: ArrayLike,
    scale: float = 0.015,
    min_share: float = 0.25,
    max_share: float = 2.0,
    bounded_until: float = 100.0,
    correlation: ArrayLike | None = None,
) -> FloatArray:
    """Weights ``w ∝ exp(-skill / scale)`` that sum to 1, within ``[min_share/K, max_share/K]`` for unproven models.

    A model is unproven while its `n_eff` is below `bounded_until`. The weights are ``clip(λ exp(-skill/scale))``
    with the one λ for which they sum to 1, so that what a bound takes or gives is shared in proportion by the rest.
    With `correlation` given, what is said twice is taken off first, see `redundancy.discounted`.

    Args:
        skill: Shrunk skill in Brier points, shape ``(n_models,)``, finite, negative is better.
        n_eff: Effective number of resolutions, shape ``(n_models,)``, finite, ≥ 0.
        scale: Advantage in Brier points that multiplies a weight by e, > 0.
        min_share: Floor of an unproven model as a share of the equal weight, in [0, 1].
        max_share: Cap of an unproven model as a multiple of the equal weight, ≥ 1.
        bounded_until: Effective resolutions from which a model is unbounded.
        correlation: Of the models' deviations, shape ``(n_models, n_models)``; ``None`` for models alike in nothing.

    Returns:
        Weights in [0, 1], shape ``(n_models,)``.

    Raises:
        InputError: an argument is out of range, the shapes differ, or there is no model.

    >>> softmax_weights([0.0, 0.0], [0, 0]).tolist()
    [0.5, 0.5]
    >>> softmax_weights([-0.1, 0.0, 0.0], [0, 0, 0]).round(12).tolist()
    [0.666666666667, 0.166666666667, 0.166666666667]
    """
    values = finite(skill, "skill")
    evidence = weights(n_eff, values.shape, "n_eff")
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"skill has shape {values.shape}; it must be (n_models,) with at least one model")
    if not (0 <= min_share <= 1 <= max_share):
        raise InputError(f"min_share = {min_share}, max_share = {max_share}; allowed: 0 <= min_share <= 1 <= max_share")
    is_bounded = evidence < bounded_until
    low = np.where(is_bounded, min_share / len(values), 0.0)
    high = np.where(is_bounded, min(1.0, max_share / len(values)), 1.0)
    # e^-600 is a weight of nothing that can still be divided by
    raw = np.exp(np.maximum(-(values - values.min()) / positive(scale, "scale"), -600.0))
    return share_within(raw if correlation is None else discounted(raw, correlation), low, high)


def _between_clusters(residual: FloatArray, n_clusters: IntArray, label: NDArray[Any]) -> FloatArray:
    """``G/(G-1) Σ_c (Σ_{i in c} residual)²`` per column; NaN where fewer than two clusters count."""
    correction = n_clusters / np.where(n_clusters >= 2, n_clusters - 1.0, np.nan)
    variance: FloatArray = correction * np.square(_cluster_sums(residual, label)).sum(axis=0)
    return variance


def _cluster_sums(values: FloatArray, label: NDArray[Any]) -> FloatArray:
    """Column sums within each cluster, shape ``(n_clusters, n_models)``."""
    names, cluster_of = np.unique(label, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, cluster_of, values)
    return sums


def _nan_for_zero(values: FloatArray) -> FloatArray:
    return np.where(values == 0, np.nan, values)
