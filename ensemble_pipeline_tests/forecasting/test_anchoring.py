import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.anchoring import fit_market_weight
from ensemble_pipeline.forecasting.pooling import anchor_to_price, bounded_gap, expit, logit

Floats = NDArray[np.float64]
WIDE = 1e9
"""A gap scale at which no gap is bounded."""

grid = st.integers(1, 99).map(lambda cents: cents / 100)
rows = st.lists(st.tuples(grid, grid, st.integers(0, 1), st.floats(0, 3)), max_size=25)


def simulated(n: int, share: float, seed: int = 4) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Outcomes of a truth that lies this share of the way from the price to the ensemble, in log-odds."""
    rng = np.random.default_rng(seed)
    price, p = rng.uniform(0.1, 0.9, n), rng.uniform(0.1, 0.9, n)
    truth = expit(logit(price) + share * (logit(p) - logit(price)))
    return p, price, (rng.uniform(size=n) < truth).astype(np.int64)


@pytest.mark.parametrize("prior", [0.0, 0.1, 0.2, 0.5])
def test_weight_without_evidence_is_exactly_its_prior(prior: float) -> None:
    assert fit_market_weight([], [], [], prior=prior) == prior
    # an ensemble that says what the price says tells nothing, and rows without weight are no rows
    assert fit_market_weight([0.3, 0.7], [0.3, 0.7], [1, 0], prior=prior) == prior
    assert fit_market_weight([0.3, 0.7], [0.6, 0.2], [1, 0], weight=[0, 0], prior=prior) == prior


def test_weight_of_one_row_worked_by_hand() -> None:
    # price even, ensemble at odds e:1, so a gap of 1: the weight solves (w - prior) ridge = 1 - σ(w)
    p = float(expit(1.0))
    found = fit_market_weight([p], [0.5], [1], prior=0.2, ridge=2.0, cap=1.0, gap_scale=WIDE)
    assert 2.0 * (found - 0.2) == pytest.approx(1 - float(expit(found)), abs=1e-12)
    assert found == pytest.approx(0.4, abs=0.01)
    against = fit_market_weight([p], [0.5], [0], prior=0.2, ridge=2.0, cap=1.0, gap_scale=WIDE)
    assert against == 0.0 or 2.0 * (against - 0.2) == pytest.approx(-float(expit(against)), abs=1e-12)


@pytest.mark.parametrize(("share", "seed"), [(0.1, 1), (0.3, 2), (0.6, 3), (0.0, 5)])
def test_weight_is_the_minimum_that_scipy_finds(share: float, seed: int) -> None:
    p, price, outcome = simulated(300, share, seed)
    weight = np.random.default_rng(seed).uniform(0, 2, 300)
    step = bounded_gap(logit(p) - logit(price), 2.0)

    def loss(w: float) -> float:
        v = logit(price) + w * step
        nll = weight * np.logaddexp(0, np.where(outcome == 1, -v, v))
        return float(nll.sum()) + 10 / 2 * (w - 0.2) ** 2

    best = optimize.minimize_scalar(loss, bounds=(0, 0.5), method="bounded", options={"xatol": 1e-10})
    found = fit_market_weight(p, price, outcome, weight, prior=0.2, ridge=10, cap=0.5, gap_scale=2.0)
    assert found == pytest.approx(best.x, abs=1e-6)
    assert loss(found) <= best.fun + 1e-9


def test_weight_is_that_of_a_logistic_regression_with_the_price_as_offset() -> None:
    # from an even price there is no offset, and a prior of 0 is the usual ridge
    p, _, outcome = simulated(400, 0.4)
    price = np.full(400, 0.5)
    regression = LogisticRegression(C=1 / 7.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    regression.fit(logit(p)[:, None], outcome)
    found = fit_market_weight(p, price, outcome, prior=0.0, ridge=7.0, cap=1.0, gap_scale=WIDE)
    assert found == pytest.approx(float(regression.coef_[0, 0]), abs=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_weight_comes_near_the_truth_with_evidence_and_from_its_prior(share: float) -> None:
    p, price, outcome = simulated(20_000, share)
    fits = [
        fit_market_weight(p[:n], price[:n], outcome[:n], prior=0.2, cap=1.0, gap_scale=WIDE) for n in (0, 500, 20_000)
    ]
    assert fits[0] == 0.2
    assert fits[2] == pytest.approx(share, abs=0.03)


@given(rows, grid, st.floats(0.01, 1000), grid)
def test_weight_lies_between_nothing_and_its_cap(
    given_: list[tuple[float, float, int, float]], prior: float, ridge: float, cap: float
) -> None:
    p, price, outcome, weight = ([row[i] for row in given_] for i in range(4))
    assert 0 <= fit_market_weight(p, price, outcome, weight, min(prior, cap), ridge, cap) <= cap


@given(rows)
def test_weight_is_the_same_in_the_mirrored_market(given_: list[tuple[float, float, int, float]]) -> None:
    p, price, outcome, weight = (np.array([row[i] for row in given_]) for i in range(4))
    straight = fit_market_weight(p, price, outcome.astype(int), weight)
    mirrored = fit_market_weight(1 - p, 1 - price, 1 - outcome.astype(int), weight)
    assert mirrored == pytest.approx(straight, abs=1e-9)


@given(rows)
def test_weight_does_not_depend_on_the_order_of_the_rows(given_: list[tuple[float, float, int, float]]) -> None:
    def fitted(order: list[tuple[float, float, int, float]]) -> float:
        p, price, outcome, weight = ([row[i] for row in order] for i in range(4))
        return fit_market_weight(p, price, outcome, weight)

    assert fitted(given_[::-1]) == pytest.approx(fitted(given_), abs=1e-9)


@given(grid, grid, st.integers(1, 60))
def test_weight_grows_with_outcomes_on_the_side_of_the_ensemble(p: float, price: float, n: int) -> None:
    right = 1 if p > price else 0
    fits = [fit_market_weight([p] * n, [price] * n, [right] * k + [1 - right] * (n - k)) for k in (0, n // 2, n)]
    assert fits == sorted(fits)


def test_more_ridge_keeps_the_weight_nearer_to_its_prior() -> None:
    p, price, outcome = simulated(500, 0.5)
    fits = [fit_market_weight(p, price, outcome, prior=0.1, ridge=ridge, cap=1.0) for ridge in (1e9, 100, 10, 0.1)]
    assert [abs(fit - 0.1) for fit in fits] == sorted(abs(fit - 0.1) for fit in fits)
    assert fits[0] == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"p": [1.0]}, "has no log-odds"),
        ({"price": [1.5]}, r"p\[0\] = 1.5"),
        ({"outcome": [2]}, "outcome"),
        ({"weight": [-1.0]}, "weight"),
        ({"weight": [1.0, 1.0]}, "shape"),
        ({"prior": 1.5}, "prior"),
        ({"ridge": 0.0}, "ridge"),
        ({"cap": -0.1}, "cap"),
        ({"gap_scale": 0.0}, "scale"),
    ],
)
def test_argument_out_of_range_is_refused_by_name(arguments: dict[str, object], complaint: str) -> None:
    usual: dict[str, object] = {"p": [0.6], "price": [0.5], "outcome": [1]}
    with pytest.raises(InputError, match=complaint):
        fit_market_weight(**(usual | arguments))  # type: ignore[arg-type]


@given(grid, grid, st.floats(0, 1), st.floats(0.1, 10))
def test_anchored_probability_is_mirror_symmetric_and_lies_between(
    p: float, price: float, share: float, scale: float
) -> None:
    found = anchor_to_price(p, price, share, gap_scale=scale)
    assert anchor_to_price(1 - p, 1 - price, share, gap_scale=scale) == pytest.approx(1 - found, abs=1e-12)
    low, high = sorted((p, price))
    assert low - 1e-12 <= found <= high + 1e-12
    assert anchor_to_price(p, price, 0.0, gap_scale=scale) == price
