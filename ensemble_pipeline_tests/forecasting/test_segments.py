import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import segments
from ensemble_pipeline.forecasting.segments import Verdict

NAN, INF = float("nan"), float("inf")
seeds = st.integers(0, 2**32 - 1)


def test_shrink_within_by_hand() -> None:
    # 25 / 125 = 1/5 and 300 / 400 = 3/4 of the way
    found = segments.shrink_within([[0.04, -0.02], [0.04, -0.02]], [[25, 300], [300, 25]], [-0.01, 0.02])
    np.testing.assert_allclose(found, [[0.0, -0.0175], [0.035, 0.012]], atol=1e-15)


def test_shrink_within_without_data_is_the_model() -> None:
    found = segments.shrink_within([[NAN, 0.3, NAN]], [[0, 0, 50]], [-0.01])
    assert found.tolist() == [[-0.01, -0.01, -0.01]]


@given(seeds, st.floats(1, 1000))
def test_shrink_within_lies_between_model_and_segment_and_nearer_with_events(seed: int, prior_n: float) -> None:
    rng = np.random.default_rng(seed)
    delta, own, n = rng.normal(size=(3, 4)), rng.normal(size=3), rng.uniform(0, 500, (3, 4))
    few = segments.shrink_within(delta, n, own, prior_n)
    many = segments.shrink_within(delta, n + 50, own, prior_n)
    assert (np.abs(many - delta) < np.abs(few - delta)).all()
    assert (np.abs(few - own[:, None]) <= np.abs(delta - own[:, None])).all()


def test_shrink_within_is_nearer_to_the_truth_than_the_segment_or_the_model_alone() -> None:
    rng = np.random.default_rng(6)
    own, n = rng.normal(scale=0.03, size=400), rng.integers(5, 300, (400, 10))
    truth = own[:, None] + rng.normal(scale=0.01, size=(400, 10))
    measured = truth + rng.normal(size=(400, 10)) * 0.1 / np.sqrt(n)
    error = [np.mean(np.square(guess - truth)) for guess in (segments.shrink_within(measured, n, own), measured)]
    assert error[0] < 0.9 * 0.01**2
    assert error[0] < 0.5 * error[1]


@pytest.mark.parametrize(
    ("delta", "n", "own", "prior_n", "complaint"),
    [
        ([0.1], [1.0], [0.0], 100.0, r"delta_segment has shape \(1,\)"),
        ([[INF]], [[1.0]], [0.0], 100.0, r"delta_segment\[0, 0\] = inf"),
        ([[0.1]], [[-1.0]], [0.0], 100.0, r"n_segment\[0, 0\] = -1.0"),
        ([[0.1]], [[1.0]], [NAN], 100.0, r"overall\[0\] = nan"),
        ([[0.1]], [[1.0]], [0.0, 0.0], 100.0, r"overall has shape \(2,\)"),
        ([[0.1]], [[1.0]], [0.0], 0.0, "prior_n = 0.0"),
    ],
)
def test_shrink_within_when_malformed_refuses(
    delta: list[float], n: list[float], own: list[float], prior_n: float, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        segments.shrink_within(delta, n, own, prior_n)


def test_is_discovery_reproduces_the_example_of_benjamini_and_hochberg() -> None:
    # section 3.1: fifteen p-values, four findings at 5% where Bonferroni has three
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert segments.is_discovery(p, rate=0.05).tolist() == [True] * 4 + [False] * 11


@given(seeds, st.integers(1, 60), st.sampled_from([0.01, 0.1, 0.3]))
def test_is_discovery_agrees_with_scipy(seed: int, n: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=n) ** rng.choice([1, 4], n)
    assert segments.is_discovery(p, rate).tolist() == (stats.false_discovery_control(p) <= rate).tolist()


@given(seeds)
def test_is_discovery_ignores_shape_order_and_what_is_no_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=12) ** 3
    table = np.append(p, [NAN] * 8)[rng.permutation(20)].reshape(4, 5)
    found = segments.is_discovery(table)
    assert sorted(table[found]) == sorted(p[segments.is_discovery(p)])


@pytest.mark.parametrize("p", [[], [NAN, NAN], [0.2, 0.9]])
def test_is_discovery_where_nothing_is_to_be_found_finds_nothing(p: list[float]) -> None:
    assert segments.is_discovery(p).tolist() == [False] * len(p)


def test_is_discovery_at_the_rate_itself_is_one() -> None:
    assert segments.is_discovery([0.1]).tolist() == [True]


@pytest.mark.parametrize(("p", "rate"), [([1.1], 0.1), ([-0.1], 0.1), ([0.5], 0.0), ([0.5], 1.0)])
def test_is_discovery_when_out_of_range_refuses(p: list[float], rate: float) -> None:
    with pytest.raises(InputError):
        segments.is_discovery(p, rate)


def test_judge_segments_tests_against_the_model_itself_not_against_the_panel() -> None:
    verdict = segments.judge_segments(
        [[0.05, 0.0], [-0.05, 0.0]], np.full((2, 2), 0.01), np.full((2, 2), 60), [0.05, 0]
    )
    assert verdict.tolist() == [
        [Verdict.AS_ELSEWHERE, Verdict.STRENGTH],
        [Verdict.STRENGTH, Verdict.AS_ELSEWHERE],
    ]


@pytest.mark.parametrize(
    ("delta", "se", "clusters", "own"),
    [
        (-0.5, 0.01, 19, 0.0),
        (NAN, 0.01, 50, 0.0),
        (-0.5, NAN, 50, 0.0),
        (-0.5, 0.0, 50, 0.0),
        (-0.5, 0.01, 50, NAN),
    ],
)
def test_judge_segments_without_a_test_says_so(delta: float, se: float, clusters: int, own: float) -> None:
    assert segments.judge_segments([[delta]], [[se]], [[clusters]], [own]).tolist() == [[Verdict.NOT_ENOUGH_EVIDENCE]]


@pytest.mark.parametrize(
    ("t", "clusters", "verdict"),
    [
        # two-sided 10%: 2.920 on two degrees of freedom, 2.353 on three
        (2.9, 3, Verdict.AS_ELSEWHERE),
        (2.94, 3, Verdict.WEAKNESS),
        (2.36, 4, Verdict.WEAKNESS),
    ],
)
def test_judge_segments_has_one_degree_of_freedom_less_than_events(t: float, clusters: int, verdict: Verdict) -> None:
    assert segments.judge_segments([[0.01 * t]], [[0.01]], [[clusters]], [0.0], clusters)[0, 0] == verdict


def test_judge_segments_asks_more_of_a_segment_among_many() -> None:
    # t = 2 on 99 degrees of freedom: p = .048 passes alone, not among ten
    alone = segments.judge_segments([[-0.02]], [[0.01]], [[100]], [0.0])
    among = segments.judge_segments([[-0.02] + [0.0] * 9], np.full((1, 10), 0.01), np.full((1, 10), 100), [0.0])
    assert (alone[0, 0], among[0, 0]) == (Verdict.STRENGTH, Verdict.AS_ELSEWHERE)


def test_judge_segments_leaves_cells_without_evidence_out_of_the_family() -> None:
    clusters = np.array([[100] + [19] * 9])
    verdict = segments.judge_segments([[-0.02] + [0.0] * 9], np.full((1, 10), 0.01), clusters, [0.0])
    assert verdict[0, 0] == Verdict.STRENGTH


def test_judge_segments_of_models_that_are_alike_everywhere_finds_something_in_one_family_of_ten() -> None:
    rng = np.random.default_rng(12)
    has_finding = []
    for _ in range(400):
        x = rng.normal(scale=0.075, size=(4, 8, 25))
        se = x.std(axis=2, ddof=1) / 5
        verdict = segments.judge_segments(x.mean(axis=2), se, np.full((4, 8), 25), np.zeros(4))
        has_finding.append(bool(np.isin(verdict.astype(str), ["strength", "weakness"]).any()))
    assert np.mean(has_finding) == pytest.approx(0.10, abs=0.04)


def test_judge_segments_finds_a_segment_that_is_really_weak() -> None:
    rng = np.random.default_rng(13)
    x = rng.normal(scale=0.075, size=(4, 8, 100))
    x[2, 5] += 0.05
    se = x.std(axis=2, ddof=1) / 10
    verdict = segments.judge_segments(x.mean(axis=2), se, np.full((4, 8), 100), x.mean(axis=(1, 2)))
    assert verdict[2, 5] == Verdict.WEAKNESS


@pytest.mark.parametrize(
    ("delta", "se", "clusters", "own", "min_clusters", "complaint"),
    [
        ([0.1], [0.1], [30], [0.0], 20, r"delta_segment has shape \(1,\)"),
        ([[0.1]], [0.1], [[30]], [0.0], 20, r"standard_error has shape \(1,\)"),
        ([[0.1]], [[-0.1]], [[30]], [0.0], 20, r"standard_error\[0, 0\] = -0.1"),
        ([[0.1]], [[0.1]], [[-30]], [0.0], 20, r"clusters\[0, 0\] = -30"),
        ([[0.1]], [[0.1]], [[30]], [INF], 20, r"overall\[0\] = inf"),
        ([[0.1]], [[0.1]], [[30]], [[0.0]], 20, r"overall has shape \(1, 1\)"),
        ([[0.1]], [[0.1]], [[30]], [0.0], 1, "min_clusters = 1"),
    ],
)
def test_judge_segments_when_malformed_refuses(
    delta: list[float], se: list[float], clusters: list[int], own: list[float], min_clusters: int, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        segments.judge_segments(delta, se, clusters, own, min_clusters)
