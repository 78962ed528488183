"""What each model adds to the pool.

Belongs here: the pool with a model against the pool without it. Does not: a model's own skill (ranking.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray, outcomes, probabilities, weights
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, clip_probability, expit, logit


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Per model, shape ``(n_models,)``: Brier points the pool would lose without it, over `n` questions."""

    contribution: FloatArray
    n: IntArray


def leave_one_out(p: ArrayLike, outcome: ArrayLike, weight: ArrayLike, clip: float = MEMBER_CLIP) -> LeaveOneOut:
    """Mean Brier score of the log-odds pool without a model minus with it; positive: the model helps.

    A question counts for a model that answered it if another model of positive weight did too.

    Args:
        p: P(YES), shape ``(n_questions, n_models)``, in [0, 1]; NaN where a model is absent.
        outcome: 0 or 1, shape ``(n_questions,)``.
        weight: Shape ``(n_models,)``, or ``(n_questions, n_models)`` where weights changed between questions; finite,
            ≥ 0. A question's weights are taken among the models present.
        clip: Members are held within [clip, 1 - clip]; in (0, 0.5).

    Returns:
        Contributions in [-1, 1], NaN where n = 0. The difference per question scatters by some .05: smallest useful
        n is about 100 for a contribution of .015.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    Source: the measure of Budescu and Chen 2015, Management Science 61(2), on pools in log-odds.

    >>> result = leave_one_out([[0.8, 0.5], [float("nan"), 0.5]], [1, 1], [1, 1])
    >>> result.contribution.round(6).tolist(), result.n.tolist()
    ([0.138889, -0.071111], [1, 1])
    """
    probability = probabilities(p, "p", has_gaps=True)
    if probability.ndim != 2:
        raise InputError(f"p has shape {probability.shape}; it must be (n_questions, n_models)")
    y = outcomes(outcome, probability.shape[:1])
    given = np.asarray(weight, dtype=np.float64)
    share = weights(given, probability.shape if given.ndim == 2 else probability.shape[1:])
    is_present = ~np.isnan(probability)
    share = np.where(is_present, share, 0.0)
    evidence = share * logit(clip_probability(np.where(is_present, probability, 0.5), clip))

    # sums over the others, not total minus own: nothing cancels
    others = 1.0 - np.eye(probability.shape[1])
    weight_without = share @ others
    is_used = is_present & (weight_without > 0)
    without = expit(evidence @ others / np.where(is_used, weight_without, 1.0))
    weight_with = share.sum(axis=1, keepdims=True)
    pooled = expit(evidence.sum(axis=1, keepdims=True) / np.where(weight_with > 0, weight_with, 1.0))

    gain = np.square(without - y[:, None]) - np.square(pooled - y[:, None])
    n = is_used.sum(axis=0)
    total = np.where(is_used, gain, 0.0).sum(axis=0)
    return LeaveOneOut(total / np.where(n > 0, n, np.nan), n.astype(np.int64))
