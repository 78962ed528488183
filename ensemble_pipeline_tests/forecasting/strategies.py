"""Random scored rows and panels for the laws that hold for any input."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.skill_cube import CubeCells, build_cells

START_S = 1_760_000_000 // 3600 * 3600


@dataclass(frozen=True)
class Rows:
    """Scored rows, as `build_cells` takes them."""

    known_at_s: NDArray[Any]
    model: NDArray[Any]
    category: NDArray[Any]
    p_yes: NDArray[Any]
    outcome: NDArray[Any]
    market_p: NDArray[Any]
    cost_micro_usd: NDArray[Any]
    latency_ms: NDArray[Any]
    sign: NDArray[Any]

    def cells(self) -> CubeCells:
        return build_cells(**{field.name: getattr(self, field.name) for field in fields(self)})

    def take(self, index: Any) -> "Rows":
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    def retracted(self) -> "Rows":
        return replace(self, sign=-self.sign)

    def beside(self, other: "Rows") -> "Rows":
        columns = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Rows(*(np.concatenate(pair) for pair in columns))


def make_rows(n: int, seed: int, hours: int = 60, *, has_corrections: bool = False) -> Rows:
    rng = np.random.default_rng(seed)
    market = rng.uniform(size=n)
    market[rng.uniform(size=n) < 0.3] = np.nan
    return Rows(
        known_at_s=START_S + rng.integers(0, hours * 3600, n),
        model=rng.integers(0, 3, n),
        category=rng.integers(0, 4, n),
        p_yes=rng.choice([0.0, 0.5, 1.0, *rng.uniform(size=5)], n),
        outcome=rng.integers(0, 2, n),
        market_p=market,
        cost_micro_usd=rng.integers(0, 80_000, n),
        latency_ms=rng.integers(0, 30_000, n),
        sign=rng.choice([1, 1, 1, -1], n) if has_corrections else np.ones(n, dtype=np.int64),
    )


rows = st.builds(
    make_rows, n=st.integers(0, 60), seed=st.integers(0, 2**32 - 1), hours=st.sampled_from([1, 30, 60, 1000])
)
corrected_rows = st.builds(
    make_rows, n=st.integers(0, 60), seed=st.integers(0, 2**32 - 1), has_corrections=st.just(True)
)

probabilities = st.floats(0, 1)
panels = st.integers(1, 8).flatmap(
    lambda k: st.tuples(
        st.lists(probabilities, min_size=k, max_size=k), st.lists(st.floats(0.01, 10), min_size=k, max_size=k)
    )
)
