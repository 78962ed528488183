"""Random scored rows, their corrections, cells and panels for the laws that hold for any input."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.arrays import IntArray
from ensemble_pipeline.forecasting.skill_cube import CubeCells, hour_seen, score_columns, sum_cells

START_S = 1_760_000_000 // 3600 * 3600


@dataclass(frozen=True)
class Rows:
    """Scored rows as the ledger holds them; windows place a row at `window_at_s` and see it from `known_at_s` on."""

    window_at_s: NDArray[Any]
    known_at_s: NDArray[Any]
    model: NDArray[Any]
    segment: NDArray[Any]
    p_yes: NDArray[Any]
    outcome: NDArray[Any]
    market_p: NDArray[Any]
    cost_micro_usd: NDArray[Any]
    latency_ms: NDArray[Any]
    sign: NDArray[Any]

    def __len__(self) -> int:
        return len(self.p_yes)

    def columns(self) -> IntArray:
        return score_columns(self.p_yes, self.outcome, self.market_p, self.cost_micro_usd, self.latency_ms, self.sign)

    def cells(self) -> CubeCells:
        placed, seen = hour_seen(self.window_at_s, "window_at_s"), hour_seen(self.known_at_s)
        return sum_cells(placed, seen, self.model, self.segment, self.columns())

    def take(self, index: Any) -> "Rows":
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    def retracted(self, delay_s: Any = 0) -> "Rows":
        """The rows that take these back, seen `delay_s` later and placed where these are."""
        return replace(self, sign=-self.sign, known_at_s=self.known_at_s + delay_s)

    def beside(self, other: "Rows") -> "Rows":
        columns = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Rows(*(np.concatenate(pair) for pair in columns))


@dataclass(frozen=True)
class History:
    """A ledger: `first` was appended first, `late` takes some of it back and partly puts something else in place."""

    first: Rows
    late: Rows

    def everything(self) -> Rows:
        return self.first.beside(self.late)


def make_rows(n: int, seed: int, hours: int = 60) -> Rows:
    """Rows that are placed where they are seen."""
    rng = np.random.default_rng(seed)
    market = rng.uniform(size=n)
    market[rng.uniform(size=n) < 0.3] = np.nan
    known_at_s = START_S + rng.integers(0, hours * 3600, n)
    return Rows(
        window_at_s=known_at_s,
        known_at_s=known_at_s,
        model=rng.integers(0, 3, n),
        segment=rng.integers(0, 4, n),
        p_yes=rng.choice([0.0, 0.5, 1.0, *rng.uniform(size=5)], n),
        outcome=rng.integers(0, 2, n),
        market_p=market,
        cost_micro_usd=rng.integers(0, 80_000, n),
        latency_ms=rng.integers(0, 30_000, n),
        sign=np.ones(n, dtype=np.int64),
    )


def make_history(n: int, seed: int, hours: int = 60, *, is_moved: bool = True) -> History:
    """Rows of which some are taken back; of these some are scored anew with the other outcome.

    A new score is placed where the correction became known (`is_moved`), or where the old one was. Some new scores
    are taken back in turn, some of them within the hour.
    """
    first, rng = make_rows(n, seed, hours), np.random.default_rng([seed, 1])
    late = first.take([])
    standing = first
    for _ in range(2):
        wrong = standing.take(rng.uniform(size=len(standing)) < 0.5)
        undone = wrong.retracted(rng.choice([0, 1, 3600, hours * 1800, hours * 3600], len(wrong)))
        standing = replace(
            wrong,
            known_at_s=undone.known_at_s,
            window_at_s=undone.known_at_s if is_moved else wrong.window_at_s,
            outcome=1 - wrong.outcome,
        ).take(rng.uniform(size=len(wrong)) < 0.7)
        late = late.beside(undone).beside(standing)
    return History(first, late)


def make_cells(n: int, seed: int, n_fields: int = 5, hours: int = 40) -> CubeCells:
    """Cells of any sums in any order, keys repeated, a third of them seen later than their hour (of `hours` ≥ 2)."""
    rng = np.random.default_rng(seed)
    hour = START_S // 3600 + rng.integers(0, hours, n)
    delay = rng.integers(1, hours, n) * (rng.uniform(size=n) < 1 / 3)
    sums = rng.choice([-1, 0, 1, 10**12, -(10**15)], (n_fields, n)) * rng.integers(1, 9, (n_fields, n))
    return CubeCells(hour, hour + delay, rng.choice([0, 3, 11], n), rng.choice([2, 5], n), sums)


seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 60)
rows = st.builds(make_rows, n=sizes, seed=seeds, hours=st.sampled_from([1, 30, 60, 1000]))
histories = st.builds(
    make_history, n=sizes, seed=seeds, hours=st.sampled_from([1, 30, 60, 1000]), is_moved=st.booleans()
)
cells = st.builds(make_cells, n=sizes, seed=seeds, hours=st.sampled_from([2, 40, 900]))

probabilities = st.floats(0, 1)
panels = st.integers(1, 8).flatmap(
    lambda k: st.tuples(
        st.lists(probabilities, min_size=k, max_size=k), st.lists(st.floats(0.01, 10), min_size=k, max_size=k)
    )
)
