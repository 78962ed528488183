import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.contribution import leave_one_out
from ensemble_pipeline.forecasting.pooling import log_odds_pool

NAN = float("nan")


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans())
def test_leave_one_out_equals_pooling_twice(seed: int, k: int, has_changing_weights: bool) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.uniform(size=(12, k)), rng.integers(0, 2, 12)
    p[rng.uniform(size=p.shape) < 0.3] = NAN
    weight = rng.uniform(0.1, 1, size=p.shape if has_changing_weights else k)
    result = leave_one_out(p, y, weight)
    for model in range(k):
        gains = []
        for row, outcome, share in zip(p, y, np.broadcast_to(weight, p.shape), strict=True):
            others = ~np.isnan(row) & (np.arange(k) != model)
            if np.isnan(row[model]) or not others.any():
                continue
            everyone = others | (np.arange(k) == model)
            without = log_odds_pool(row[others], share[others])
            gains.append((without - outcome) ** 2 - (log_odds_pool(row[everyone], share[everyone]) - outcome) ** 2)
        assert result.n[model] == len(gains)
        assert result.contribution[model] == pytest.approx(np.mean(gains) if gains else NAN, nan_ok=True, abs=1e-13)


def test_leave_one_out_of_a_good_and_a_bad_model_tells_them_apart() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    good = np.where(y == 1, 0.8, 0.2)
    p = np.column_stack((good, np.full(400, 0.5), 1 - good))
    contribution = leave_one_out(p, y, [1, 1, 1]).contribution
    assert contribution[0] > contribution[1] > contribution[2]
    assert contribution[0] > 0 > contribution[2]


def test_leave_one_out_of_a_model_without_weight_is_zero() -> None:
    result = leave_one_out([[0.9, 0.4, 0.6]], [1], [0.0, 1.0, 1.0])
    assert result.contribution[0] == 0.0


def test_leave_one_out_when_nobody_else_has_weight_is_unknown() -> None:
    result = leave_one_out([[0.9, 0.4]], [1], [1.0, 0.0])
    assert result.n.tolist() == [0, 1]
    assert np.isnan(result.contribution[0])


def test_leave_one_out_of_nothing_is_unknown() -> None:
    result = leave_one_out(np.empty((0, 2)), [], [1, 1])
    assert result.n.tolist() == [0, 0]
    assert np.isnan(result.contribution).all()


@pytest.mark.parametrize(
    ("p", "weight", "complaint"),
    [
        ([0.5], [1.0], r"p has shape \(1,\)"),
        ([[0.5, 1.5]], [1.0, 1.0], r"p\[0, 1\] = 1.5"),
        ([[0.5, 0.5]], [1.0], "weight has shape"),
        ([[0.5, 0.5]], [1.0, NAN], r"weight\[1\] = nan"),
    ],
)
def test_leave_one_out_when_malformed_refuses(p: list[float], weight: list[float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        leave_one_out(p, [1], weight)
