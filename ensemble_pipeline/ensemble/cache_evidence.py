"""What giving answers again costs in accuracy, measured on those hits that were asked for real all the same.

Belongs here: the loss by kind, and whether it lets a kind be used. Does not: single answers (cache.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_pipeline.domain import CacheKind
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline.forecasting.betting import evidence_of_mean_below
from ensemble_pipeline.forecasting.scoring import brier_score
from ensemble_pipeline.settings import CacheSettings
from ensemble_pipeline.store.database import Row

UNPROVEN, HARMFUL = "unproven", "shown_harmful"
"""Refusals of answers that nothing else speaks against."""
COMPARED = frozenset({UNPROVEN, HARMFUL})
"""Where an answer is refused for one of these, its model is asked for real and the two are compared."""


ENOUGH = 20.0
"""The e-value at which something counts as shown: wrongly in 5% of all histories at most, at whatever look."""


@dataclass(frozen=True, slots=True)
class CacheEvidence:
    """Of one kind: shadow pairs that have settled, their events, and the mean loss in Brier points of giving again.

    `for_use` and `against_use` are e-values: how strongly the events speak for a loss below the bound, and for one
    above it. `refusal` is empty where the kind may be used.
    """

    kind: CacheKind
    pairs: int
    events: int
    loss: float | None
    for_use: float
    against_use: float
    refusal: str


def weigh_evidence(pairs: Sequence[Row], options: CacheSettings) -> dict[CacheKind, CacheEvidence]:
    """The evidence on each kind, from the shadow pairs in the order in which they became known.

    Answers to the same market are given again until they are shown to lose more than `max_brier_loss`; those to
    similar markets only once so much is ruled out, on `min_shadow_events` events at least.
    """
    return {kind: _weigh(kind, [row for row in pairs if row["kind"] == kind], options) for kind in CacheKind}


def refusals(evidence: Mapping[CacheKind, CacheEvidence]) -> dict[CacheKind, str]:
    """Why a kind may not be used, empty where it may."""
    return {kind: it.refusal for kind, it in evidence.items()}


def _weigh(kind: CacheKind, pairs: Sequence[Row], options: CacheSettings) -> CacheEvidence:
    losses = _losses_by_event(pairs)
    for_use, against_use = _last(losses, options.max_brier_loss), _last(-losses, -options.max_brier_loss)
    if kind is CacheKind.SAME:
        refusal = HARMFUL if against_use >= ENOUGH else ""
    else:
        refusal = "" if for_use >= ENOUGH and losses.size >= options.min_shadow_events else UNPROVEN
    mean = float(losses.mean()) if losses.size else None
    return CacheEvidence(kind, len(pairs), losses.size, mean, for_use, against_use, refusal)


def _last(losses: FloatArray, bound: float) -> float:
    """The e-value as it stands; 1, which says nothing, before the first event."""
    return float(evidence_of_mean_below(losses, bound)[-1]) if losses.size else 1.0


def _losses_by_event(pairs: Sequence[Row]) -> FloatArray:
    """Mean loss of each event, Brier of the repeated answer less that of the one asked for, as events became known."""
    if not pairs:
        return np.empty(0)
    outcomes = [row["outcome"] for row in pairs]
    repeated, asked = (brier_score([row[name] for row in pairs], outcomes) for name in ("p_repeated", "p_asked"))
    place: dict[str, int] = {}
    event = [place.setdefault(row["event_id"], len(place)) for row in pairs]
    losses: FloatArray = np.bincount(event, weights=repeated - asked) / np.bincount(event)
    return losses
