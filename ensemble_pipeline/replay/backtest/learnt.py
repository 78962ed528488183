"""What is known at each instant of a walk: scored forecasts and settled pools, each from its settlement on.

Belongs here: columns laid out once and cut by time. Does not: what is learnt from them (ensemble).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.replay.backtest.rows import AskedRow
from ensemble_pipeline.store.score_arrays import DIMENSIONS, ScoreArrays

Integers = NDArray[np.int64]
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
_PER_SECOND = 1_000_000


def instant(at: datetime) -> int:
    """Microseconds since the Unix epoch: settled and asked within one second are told apart."""
    return (at - _EPOCH) // _MICROSECOND


def second(at: datetime) -> int:
    """Seconds since the Unix epoch."""
    return instant(at) // _PER_SECOND


@dataclass(frozen=True, slots=True)
class Codes:
    """Columns over all rows: numbers of event, category and market, settlement (largest: never), outcome."""

    event: Integers
    category: Integers
    categories: tuple[str, ...]
    market: Integers
    resolved: Integers
    outcome: Integers

    @classmethod
    def of(cls, rows: Sequence[AskedRow]) -> "Codes":
        """The columns of these rows."""
        markets = [row.snapshot.market for row in rows]
        _, event = np.unique([market.event_id for market in markets], return_inverse=True)
        _, market = np.unique([market.market_id for market in markets], return_inverse=True)
        categories, category = np.unique([market.category for market in markets], return_inverse=True)
        never = np.iinfo(np.int64).max
        return cls(
            event.astype(np.int64),
            category.astype(np.int64),
            tuple(str(name) for name in categories),
            market.astype(np.int64),
            np.array([never if row.resolved_at is None else instant(row.resolved_at) for row in rows], dtype=np.int64),
            np.array([int(bool(row.outcome)) for row in rows], dtype=np.int64),
        )


class Ledger:
    """The scored forecasts of an archive, in the order in which they became known."""

    def __init__(self, rows: Sequence[AskedRow], codes: Codes, models: tuple[str, ...]) -> None:
        place = {name: index for index, name in enumerate(models)}
        said = [
            (row.number, place[answer.model_id], answer.p_yes, answer.confidence)
            for row in rows
            if row.outcome is not None
            for answer in row.answers
        ]
        question = np.array([it[0] for it in said], dtype=np.int64)
        order = np.argsort(codes.resolved[question], kind="stable") if said else question
        question = question[order]
        known = codes.resolved[question]
        # as the store counts: in the second in which it is known
        known_s = -(-known // _PER_SECOND)
        nothing = np.zeros(len(said), dtype=np.int64)
        self._known = known
        self._all = ScoreArrays(
            models=models,
            names=dict.fromkeys(DIMENSIONS, ("*",)),
            segments=dict.fromkeys(DIMENSIONS, nothing),
            score_id=np.arange(1, len(said) + 1),
            known_at_s=known_s,
            window_at_s=known_s,
            model=np.array([it[1] for it in said], dtype=np.int64)[order],
            p_yes=np.array([it[2] for it in said], dtype=np.float64)[order],
            confidence=np.array([it[3] for it in said], dtype=np.float64)[order],
            outcome=codes.outcome[question],
            market_p=np.full(len(said), np.nan),
            cost_micro_usd=nothing,
            latency_ms=nothing,
            sign=np.ones(len(said), dtype=np.int64),
            question=question,
            event=codes.event[question],
        )

    def known_by(self, at: datetime) -> ScoreArrays:
        """The rows known by `at`; views, nothing is copied."""
        return self._all.head(self.seen_by(at, 0)[0])

    def seen_by(self, at: datetime, window_from_s: int) -> tuple[int, int]:
        """How many rows are known by `at`, and how many of all had left the window that begins at `window_from_s`."""
        known = np.searchsorted(self._known, instant(at), side="right")
        left = np.searchsorted(self._all.window_at_s, window_from_s, side="right")
        return int(known), int(left)
