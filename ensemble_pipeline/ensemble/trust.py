"""How much weight each of the members that answered gets, from what the ranking knows of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import Ranking
from ensemble_pipeline.forecasting.ranking import softmax_weights
from ensemble_pipeline.forecasting.uncertainty import MEMBER_CORRELATION
from ensemble_pipeline.settings import EnsembleSettings


def trust(names: Sequence[str], ranking: Ranking, options: EnsembleSettings) -> NDArray[np.float64]:
    """Weights of these models, summing to 1: by shrunk skill, less what is said twice, bounded while unproven.

    A model without a line in the ranking counts as good as the panel, as unproven, and as alike to others as usual.
    """
    rows = ranking.by_name
    known = [rows.get(name) for name in names]
    return softmax_weights(
        [0.0 if row is None else row.skill for row in known],
        [0.0 if row is None else row.effective_sample_size for row in known],
        scale=options.weight_scale,
        correlation=_correlation(names, ranking),
    )


def _correlation(names: Sequence[str], ranking: Ranking) -> NDArray[np.float64]:
    matrix = np.eye(len(names))
    for i, name in enumerate(names):
        for j, other in enumerate(names[:i]):
            matrix[i, j] = matrix[j, i] = ranking.correlation_of(name, other, MEMBER_CORRELATION)
    return matrix
