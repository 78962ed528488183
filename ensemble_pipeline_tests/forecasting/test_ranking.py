import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import ranking

NAN = float("nan")
seeds = st.integers(0, 2**32 - 1)
skills = st.lists(st.floats(-1, 1), min_size=1, max_size=12)


def test_recency_weights_reach_the_documented_effective_number() -> None:
    g = ranking.recency_weights(np.arange(20_000), 300)
    assert g.sum() ** 2 / np.square(g).sum() == pytest.approx(2.885 * 300, rel=0.01)


@pytest.mark.parametrize(("age", "half_life"), [([-1.0], 300.0), ([NAN], 300.0), ([1.0], 0.0)])
def test_recency_weights_when_out_of_range_refuse(age: list[float], half_life: float) -> None:
    with pytest.raises(InputError):
        ranking.recency_weights(age, half_life)


def test_panel_differences_leave_out_the_absent() -> None:
    d = ranking.panel_differences([[0.9, NAN, 0.5], [NAN, 0.4, NAN], [NAN, NAN, NAN]], [1, 0, 1])
    # Brier .01 and .25, mean .13
    np.testing.assert_allclose(d, [[-0.12, NAN, 0.12], [NAN] * 3, [NAN] * 3], atol=1e-15)


@given(seeds, st.integers(2, 6))
def test_panel_differences_sum_to_zero_and_are_mirror_symmetric(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.uniform(size=(20, k)), rng.integers(0, 2, 20)
    p[rng.uniform(size=p.shape) < 0.3] = NAN
    d = ranking.panel_differences(p, y)
    np.testing.assert_allclose(np.nansum(d, axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(ranking.panel_differences(1 - p, 1 - y), d, atol=1e-14)


@given(seeds, st.integers(2, 6))
def test_level_panels_where_everybody_answered_changes_nothing(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    d = ranking.panel_differences(rng.uniform(size=(20, k)), rng.integers(0, 2, 20))
    np.testing.assert_allclose(ranking.level_panels(d, np.ones(20)), d, atol=1e-12)


@given(seeds)
def test_level_panels_recovers_additive_levels_whoever_was_asked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    level = np.array([-0.1, 0.0, 0.02, 0.08])
    brier = rng.uniform(0.1, 0.4, 60)[:, None] + level
    brier[np.arange(60), rng.integers(0, 4, 60)] = NAN
    d = brier - np.nanmean(brier, axis=1, keepdims=True)
    levelled = ranking.level_panels(d, rng.uniform(0.5, 1, 60))
    np.testing.assert_allclose(np.nanmean(levelled, axis=0), level - level.mean(), atol=1e-12)


def test_level_panels_beside_the_best_only_is_no_disadvantage() -> None:
    # the second model beats the third by .1 on shared questions, but meets the first nine times more often
    d = np.array([[-0.05, 0.05, NAN]] * 9 + [[NAN, -0.05, 0.05]] + [[-0.1, NAN, 0.1]] * 9)
    levelled = np.nanmean(ranking.level_panels(d, np.ones(len(d))), axis=0)
    assert levelled[1] - levelled[0] == pytest.approx(0.1)
    assert levelled[2] - levelled[1] == pytest.approx(0.1)


@pytest.mark.parametrize(("d", "g"), [([0.1], [1.0]), ([[float("inf")]], [1.0]), ([[0.1]], [-1.0]), ([[0.1]], [NAN])])
def test_level_panels_when_out_of_range_refuse(d: list[float], g: list[float]) -> None:
    with pytest.raises(InputError):
        ranking.level_panels(d, g)


def test_panel_differences_when_malformed_refuse() -> None:
    with pytest.raises(InputError, match=r"p_yes has shape \(2,\)"):
        ranking.panel_differences([0.5, 0.5], [1, 0])
    with pytest.raises(InputError, match=r"p_yes\[0, 1\] = 1.5"):
        ranking.panel_differences([[0.5, 1.5]], [1])


def test_estimate_skill_of_single_question_clusters_is_the_usual_standard_error() -> None:
    d = np.random.default_rng(0).normal(size=(50, 3))
    estimate = ranking.estimate_skill(d, np.arange(50), np.ones(50))
    np.testing.assert_allclose(estimate.delta, d.mean(axis=0))
    np.testing.assert_allclose(estimate.standard_error, d.std(axis=0, ddof=1) / np.sqrt(50))
    assert estimate.n.tolist() == [50] * 3
    np.testing.assert_allclose(estimate.n_eff, 50)


def test_estimate_skill_counts_questions_of_one_event_once() -> None:
    d = np.random.default_rng(1).normal(size=(40, 2))
    alone = ranking.estimate_skill(d, np.arange(40), np.ones(40))
    copied = ranking.estimate_skill(np.repeat(d, 5, axis=0), np.repeat(np.arange(40), 5), np.ones(200))
    np.testing.assert_allclose(copied.standard_error, alone.standard_error)
    assert copied.n.tolist() == [200, 200]


def test_estimate_skill_by_hand_with_recency_and_clusters() -> None:
    # g = 2, 1, 1: delta = (2·1 + 4 + 0) / 4 = 1.5; residuals g(d - delta) = -1, 2.5, -1.5
    # clusters {0, 1} and {2}: sums 1.5 and -1.5; s² = 2/1 · 4.5 / 16
    estimate = ranking.estimate_skill([[1.0], [4.0], [0.0]], ["a", "a", "b"], [2, 1, 1])
    assert estimate.delta.item() == 1.5
    assert estimate.standard_error.item() == pytest.approx(0.75)
    # event weights 3 and 1: 16 / (9 + 1)
    assert estimate.n_eff.item() == pytest.approx(1.6)


def test_estimate_skill_lets_each_model_age_by_its_own_resolutions() -> None:
    d = [[-0.1, 0.1], [NAN, 0.3]]
    own = ranking.estimate_skill(d, [0, 1], [[0.5, 1.0], [7.0, 3.0]])
    np.testing.assert_allclose(own.delta, [-0.1, 0.25])
    assert own.n.tolist() == [1, 2]


def test_estimate_skill_without_data_is_unknown() -> None:
    estimate = ranking.estimate_skill([[NAN, 0.1]], [0], [1.0])
    assert np.isnan(estimate.delta[0])
    assert np.isnan(estimate.standard_error).all()
    assert (estimate.n.tolist(), estimate.n_eff.tolist()) == ([0, 1], [0.0, 1.0])
    nobody = ranking.estimate_skill(np.empty((0, 2)), [], np.empty(0))
    assert nobody.n.tolist() == [0, 0]
    assert np.isnan(nobody.delta).all()


@pytest.mark.parametrize(
    ("d", "cluster", "recency", "complaint"),
    [
        ([0.1], [0], [1.0], r"difference has shape \(1,\)"),
        ([[0.1]], [0, 1], [1.0], r"cluster has shape \(2,\)"),
        ([[0.1]], [0], [-1.0], r"recency\[0\] = -1.0"),
        ([[float("inf")]], [0], [1.0], r"difference\[0, 0\] = inf"),
    ],
)
def test_estimate_skill_when_malformed_refuses(
    d: list[float], cluster: list[int], recency: list[float], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        ranking.estimate_skill(d, cluster, recency)


def test_shrink_by_hand() -> None:
    # noise of one event as it usually is, seen in the same size: of 100 events there remains τ²/(τ² + S²/100)
    error = ranking.DIFFERENCE_SD / 10
    skill = ranking.shrink([-0.04, 0.0, 0.04], [error] * 3, [100] * 3)
    kept = ranking.SKILL_SPREAD**2 / (ranking.SKILL_SPREAD**2 + error**2)
    np.testing.assert_allclose(skill, [-0.04 * kept, 0, 0.04 * kept])


def test_shrink_leaves_the_more_the_more_events_say_so() -> None:
    delta, events = [-0.01] * 5, [1, 10, 100, 1000, 1e7]
    skill = ranking.shrink(delta, [ranking.DIFFERENCE_SD / np.sqrt(n) for n in events], events).tolist()
    assert skill == sorted(skill, reverse=True)
    assert -0.001 < skill[0] < 0
    assert skill[-1] == pytest.approx(-0.01, rel=0.01)


def test_shrink_takes_the_noise_of_one_event_as_common_so_that_a_lucky_small_error_counts_no_more() -> None:
    lucky, usual = ranking.shrink([-0.01, -0.01], [0.0001, 0.02], [20, 20])
    assert lucky == usual


@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.floats(0, 1), st.one_of(st.just(0.0), st.floats(0.01, 1e4))),
        min_size=2,
        max_size=6,
    ),
)
def test_shrink_moves_every_difference_towards_nothing_and_keeps_its_side(
    rows: list[tuple[float, float, float]],
) -> None:
    delta, error, events = ([row[i] for row in rows] for i in range(3))
    skill = ranking.shrink(delta, error, events)
    assert all(abs(found) <= abs(was) for found, was in zip(skill, delta, strict=True))
    assert all(found * was >= 0 for found, was in zip(skill, delta, strict=True))
    np.testing.assert_allclose(ranking.shrink([-d for d in delta], error, events), -skill)


@pytest.mark.parametrize("delta", [[], [-0.3], [NAN], [-0.3, NAN]])
def test_shrink_with_fewer_than_two_models_known_is_zero(delta: list[float]) -> None:
    skill = ranking.shrink(delta, [0.01] * len(delta), [50] * len(delta))
    assert skill.tolist() == [0.0] * len(delta)


def test_shrink_is_the_best_guess_in_a_world_of_the_usual_spread_and_noise() -> None:
    rng = np.random.default_rng(2)
    n, spread, noise = 100, ranking.SKILL_SPREAD, ranking.DIFFERENCE_SD
    truth = rng.normal(scale=spread, size=4000)
    error = noise / np.sqrt(n)
    seen = truth + rng.normal(scale=error, size=4000)
    skill = ranking.shrink(seen, np.full(4000, error), np.full(4000, n))
    best = spread**2 * error**2 / (spread**2 + error**2)
    assert np.mean(np.square(skill - truth)) == pytest.approx(best, rel=0.1)
    for factor in (0.8, 1.25):
        assert np.mean(np.square(factor * skill - truth)) > np.mean(np.square(skill - truth))


@pytest.mark.parametrize(
    ("delta", "se", "events"),
    [
        ([0.1], [-0.1], [1]),
        ([float("inf")], [0.1], [1]),
        ([0.1, 0.2], [0.1], [1, 1]),
        ([0.1], [0.1], [-1]),
        ([0.1, 0.2], [0.1, 0.1], [1]),
    ],
)
def test_shrink_when_out_of_range_refuses(delta: list[float], se: list[float], events: list[float]) -> None:
    with pytest.raises(InputError):
        ranking.shrink(delta, se, events)


@given(skills, st.data())
def test_softmax_weights_sum_to_one_and_keep_the_bounds_of_the_unproven(
    skill: list[float], data: st.DataObject
) -> None:
    k = len(skill)
    n_eff = np.array(data.draw(st.lists(st.floats(0, 200), min_size=k, max_size=k)))
    scale = data.draw(st.sampled_from([1e-6, 0.02, 1.0]))
    share = ranking.softmax_weights(skill, n_eff, scale=scale)
    assert share.sum() == pytest.approx(1, abs=1e-14)
    assert ((share >= 0) & (share <= 1)).all()
    unproven = share[n_eff < 100]
    assert ((unproven >= 0.25 / k) & (unproven <= 2 / k)).all()


@given(skills, st.sampled_from([0.0, 1e3]), seeds)
def test_softmax_weights_follow_the_models_and_prefer_the_better(skill: list[float], n_eff: float, seed: int) -> None:
    values = np.array(skill)
    order = np.random.default_rng(seed).permutation(len(values))
    evidence = np.full(len(values), n_eff)
    share = ranking.softmax_weights(values, evidence)
    np.testing.assert_allclose(ranking.softmax_weights(values[order], evidence), share[order], atol=1e-15)
    assert (np.diff(share[np.argsort(values, kind="stable")]) <= 1e-15).all()


def test_softmax_weights_of_proven_models_are_the_plain_softmax() -> None:
    skill = np.array([-0.05, 0.0, 0.01])
    expected = np.exp(-skill / 0.015) / np.exp(-skill / 0.015).sum()
    np.testing.assert_allclose(ranking.softmax_weights(skill, [100, 100, 100]), expected)


def test_softmax_weights_with_any_bounds_satisfy_the_optimality_conditions() -> None:
    rng = np.random.default_rng(8)
    for _ in range(300):
        k = int(rng.integers(2, 10))
        skill, n_eff = rng.normal(scale=0.05, size=k), rng.choice([0.0, 500.0], k)
        share = ranking.softmax_weights(skill, n_eff, min_share=0.5, max_share=1.2)
        level = share / np.exp(-skill / 0.015)
        is_bounded = n_eff < 100
        at_floor = is_bounded & np.isclose(share, 0.5 / k)
        at_cap = is_bounded & np.isclose(share, 1.2 / k)
        free = level[~at_floor & ~at_cap]
        if len(free):
            np.testing.assert_allclose(free, free[0], rtol=1e-9)
            assert (level[at_floor] >= free[0] * (1 - 1e-9)).all()
            assert (level[at_cap] <= free[0] * (1 + 1e-9)).all()


@pytest.mark.parametrize("n_eff", [0.0, 1e4])
def test_softmax_weights_of_one_model_and_of_two(n_eff: float) -> None:
    assert ranking.softmax_weights([0.3], [n_eff]).tolist() == [1.0]
    expected = [0.875, 0.125] if n_eff == 0 else [1.0, 0.0]
    np.testing.assert_allclose(ranking.softmax_weights([-0.5, 0.5], [n_eff, n_eff]), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("skill", "n_eff", "options"),
    [
        ([], [], {}),
        ([NAN], [0.0], {}),
        ([0.0], [-1.0], {}),
        ([0.0], [0.0, 0.0], {}),
        ([0.0], [0.0], {"scale": 0.0}),
        ([0.0], [0.0], {"min_share": 1.5}),
        ([0.0], [0.0], {"max_share": 0.5}),
    ],
)
def test_softmax_weights_when_out_of_range_refuse(
    skill: list[float], n_eff: list[float], options: dict[str, float]
) -> None:
    with pytest.raises(InputError):
        ranking.softmax_weights(skill, n_eff, **options)
