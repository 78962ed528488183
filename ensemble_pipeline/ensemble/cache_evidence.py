"""What giving answers again costs in accuracy, measured on those hits that were asked for real all the same.

Belongs here: the loss by kind, and whether it lets a kind be used. Does not: single answers (cache.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from ensemble_pipeline.domain import CacheKind
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline.forecasting.betting import evidence_of_mean_below
from ensemble_pipeline.forecasting.scoring import brier_score
from ensemble_pipeline.settings import CacheSettings
from ensemble_pipeline.store.answer_cache import shadow_pairs
from ensemble_pipeline.store.database import Connection, Row

UNPROVEN, HARMFUL = "unproven", "shown_harmful"
"""Refusals of answers that nothing else speaks against."""
COMPARED = frozenset({UNPROVEN, HARMFUL})
"""Where an answer is refused for one of these, its model is asked for real and the two are compared."""


ENOUGH = 20.0
"""The e-value at which something counts as shown: wrongly in 5% of all histories at most, at whatever look."""

PATIENCE = timedelta(days=90)
"""So long after its close a market is waited for that has not settled."""


@dataclass(frozen=True, slots=True)
class CacheEvidence:
    """Of one kind: shadow pairs that have settled, their events, and the mean loss in Brier points of giving again.

    `for_use` and `against_use` are e-values: how strongly the events speak for a loss below the bound, and how strongly
    they ever spoke for one above it. `refusal` is empty where the kind may be used.
    """

    kind: CacheKind
    pairs: int
    events: int
    loss: float | None
    for_use: float
    against_use: float
    refusal: str


def bounds_of(options: CacheSettings) -> str:
    """The settings by which an answer may be given again: what was measured under others says nothing about these."""
    return f"{options.max_age_minutes:g} min, {options.max_price_move_logit:g} logit, {options.min_similarity:g} alike"


def read_evidence(connection: Connection, options: CacheSettings, as_of: datetime) -> dict[CacheKind, CacheEvidence]:
    """The evidence on each kind as of an instant, of the comparisons made under these settings."""
    return weigh_evidence(shadow_pairs(connection, bounds_of(options), as_of), options, as_of)


def weigh_evidence(pairs: Sequence[Row], options: CacheSettings, as_of: datetime) -> dict[CacheKind, CacheEvidence]:
    """The evidence on each kind, from its shadow pairs in the order in which their markets were to close.

    Answers to the same market are given again until they are shown to lose more than `max_brier_loss`; those to
    similar markets only once so much is ruled out, on `min_shadow_events` events at least.

    Up to the first market that has not closed and settled: "by the end of the year" settles early where it comes true,
    so what settled first is no fair sample. A market that has not settled `PATIENCE` after its close is left out. Of
    each event only the first comparison counts, for a mean that later ones changed would change bets already made.
    """
    return {kind: _weigh(kind, [row for row in pairs if row["kind"] == kind], options, as_of) for kind in CacheKind}


def refusals(evidence: Mapping[CacheKind, CacheEvidence]) -> dict[CacheKind, str]:
    """Why a kind may not be used, empty where it may."""
    return {kind: it.refusal for kind, it in evidence.items()}


def _weigh(kind: CacheKind, pairs: Sequence[Row], options: CacheSettings, as_of: datetime) -> CacheEvidence:
    counted = _counted(pairs, as_of)
    losses = _losses_by_event(counted)
    for_use = _evidence(losses, options.max_brier_loss)[-1]
    # what was once shown to lose is not given again because it lost less since
    against_use = max(_evidence(-losses, -options.max_brier_loss))
    if kind is CacheKind.SAME:
        refusal = HARMFUL if against_use >= ENOUGH else ""
    else:
        refusal = "" if for_use >= ENOUGH and losses.size >= options.min_shadow_events else UNPROVEN
    mean = float(losses.mean()) if losses.size else None
    return CacheEvidence(kind, len(counted), losses.size, mean, for_use, against_use, refusal)


def _evidence(losses: FloatArray, bound: float) -> list[float]:
    """The e-value before the first event, where it is 1 and says nothing, and after each."""
    return [1.0, *evidence_of_mean_below(losses, bound).tolist()] if losses.size else [1.0]


def _counted(pairs: Sequence[Row], as_of: datetime) -> list[Row]:
    """The settled pairs up to the first that is waited for; of each event those of its first snapshot."""
    first: dict[str, int] = {}
    found = []
    for row in pairs:
        if row["closes_at"] > as_of or (not row["is_settled"] and as_of - row["closes_at"] <= PATIENCE):
            break
        if row["outcome"] is not None and first.setdefault(row["event_id"], row["snapshot_id"]) == row["snapshot_id"]:
            found.append(row)
    return found


def _losses_by_event(pairs: Sequence[Row]) -> FloatArray:
    """Mean loss of each event, Brier of the repeated answer less that of the one asked for, in the order of events."""
    if not pairs:
        return np.empty(0)
    outcomes = [row["outcome"] for row in pairs]
    repeated, asked = (brier_score([row[name] for row in pairs], outcomes) for name in ("p_repeated", "p_asked"))
    place: dict[str, int] = {}
    event = [place.setdefault(row["event_id"], len(place)) for row in pairs]
    losses: FloatArray = np.bincount(event, weights=repeated - asked) / np.bincount(event)
    return losses
