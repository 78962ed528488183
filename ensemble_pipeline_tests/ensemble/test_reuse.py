import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import CacheKind, EarlierAnswer
from ensemble_pipeline.ensemble.cache_evidence import COMPARED, HARMFUL, UNPROVEN
from ensemble_pipeline.ensemble.reuse import Reuse, choose_reuse
from ensemble_pipeline.settings import Policy
from ensemble_pipeline_tests.ensemble.parts import member_of, policy_of

KEY = "kalshi:RAIN-1|2026-03-02T12:30:00+00:00"
NOTHING = Reuse({}, {}, is_only=False)


def earlier(refusal: str = "", forecast_id: int = 1, kind: CacheKind = CacheKind.SAME) -> EarlierAnswer:
    return EarlierAnswer(forecast_id, kind, refusal, 600.0, 0.0, 1.0)


FITTING = {name: earlier(forecast_id=number) for number, name in enumerate("abc", start=1)}


def policy(share: float = 0.0, *, off: str = "", **sections: Any) -> Policy:
    """Members a, b and c, of whom those in `off` may not be asked."""
    members = [member_of(name, is_enabled=name not in off).model_dump() for name in "abc"]
    return policy_of(**{"members": members, "cache": {"shadow_share": share}} | sections)


def choose(
    found: Mapping[str, EarlierAnswer] = FITTING,
    chosen: Policy | None = None,
    key: str = KEY,
    demanded: int = 2,
    *,
    may_ask: bool = True,
    may_compare: bool = True,
) -> Reuse:
    return choose_reuse(chosen or policy(), found, key, demanded, may_ask=may_ask, may_compare=may_compare)


@pytest.mark.parametrize("may_ask", [True, False])
def test_answers_that_nothing_refuses_are_given_again(may_ask: bool) -> None:
    assert choose(may_ask=may_ask).given == FITTING
    assert choose(may_ask=may_ask).shadowed == {}


@pytest.mark.parametrize("may_ask", [True, False])
def test_nothing_is_given_or_compared_while_the_cache_is_off(may_ask: bool) -> None:
    switched_off = policy(cache={"is_enabled": False, "shadow_share": 0.5})
    found = FITTING | {"a": earlier(UNPROVEN)}
    assert choose(found, switched_off, may_ask=may_ask, demanded=1) == NOTHING


@pytest.mark.parametrize("may_ask", [True, False])
def test_nothing_is_given_or_compared_where_every_member_is_to_be_asked(may_ask: bool) -> None:
    all_are_asked = policy(ensemble={"member_policy": "all"})
    found = FITTING | {"a": earlier(UNPROVEN)}
    assert choose(found, all_are_asked, may_ask=may_ask, demanded=1) == NOTHING


@pytest.mark.parametrize("may_ask", [True, False])
def test_without_earlier_answers_there_is_nothing(may_ask: bool) -> None:
    assert choose({}, may_ask=may_ask) == NOTHING


def test_shadow_share_of_zero_gives_all_and_of_one_compares_all() -> None:
    for number in range(50):
        assert choose(key=f"market|{number}") == Reuse(FITTING, {})
        assert choose(chosen=policy(1.0), key=f"market|{number}") == Reuse({}, FITTING)


def test_shadow_sample_is_near_its_share_over_many_keys() -> None:
    n, share = 4000, 0.05
    sampling = policy(share)
    drawn = sum("a" in choose(chosen=sampling, key=f"market|{number}").shadowed for number in range(n))
    # within four standard deviations of a binomial count
    assert abs(drawn - n * share) <= 4 * math.sqrt(n * share * (1 - share))


def test_usual_shadow_share_is_one_in_twenty() -> None:
    assert policy_of().cache.shadow_share == 0.05


def test_same_key_draws_the_same_whatever_else_was_found() -> None:
    half = policy(0.5)
    for number in range(50):
        chosen = choose(chosen=half, key=f"market|{number}")
        assert choose(chosen=half, key=f"market|{number}") == chosen
        alone = choose({"a": FITTING["a"]}, half, f"market|{number}")
        assert ("a" in alone.shadowed) == ("a" in chosen.shadowed)


def test_draw_differs_by_member_and_by_key() -> None:
    half = policy(0.5)
    drawn = [frozenset(choose(chosen=half, key=f"market|{number}").shadowed) for number in range(200)]
    # all eight ways to draw of three come up, each in about one of eight
    assert len(set(drawn)) == 8
    assert all(8 <= drawn.count(it) <= 45 for it in set(drawn))


def test_who_is_drawn_at_a_small_share_is_drawn_at_a_larger_one_too() -> None:
    for number in range(50):
        small, large = (set(choose(chosen=policy(it), key=f"{number}").shadowed) for it in (0.2, 0.6))
        assert small <= large


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("refusal", [UNPROVEN, HARMFUL])
def test_answer_not_proven_or_shown_to_harm_is_compared_and_never_given(refusal: str, share: float) -> None:
    unproven = earlier(refusal, 9, CacheKind.SIMILAR)
    for number in range(50):
        chosen = choose({"a": unproven}, policy(share), f"market|{number}", 1)
        assert chosen == Reuse({}, {"a": unproven})
        assert choose({"a": unproven}, policy(share), f"market|{number}", 1, may_ask=False) == NOTHING


@pytest.mark.parametrize("refusal", ["too_old", "price_moved", "model_changed", "volatile"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_refused_answer_is_neither_given_nor_compared(refusal: str, share: float) -> None:
    assert choose({"a": earlier(refusal)}, policy(share)) == NOTHING
    assert choose({"a": earlier(refusal)}, policy(share), demanded=1, may_ask=False) == NOTHING


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_member_that_may_not_be_asked_gives_nothing(share: float) -> None:
    chosen = choose(chosen=policy(share, off="b"))
    assert set(chosen.given) | set(chosen.shadowed) == {"a", "c"}
    assert choose(chosen=policy(share, off="b"), may_ask=False).names == {"a", "c"}
    assert choose(chosen=policy(share, off="abc")) == NOTHING
    assert choose(FITTING | {"x": earlier()}, policy(share)) == choose(FITTING, policy(share))


def test_member_that_may_not_be_asked_is_not_compared() -> None:
    assert choose({"b": earlier(UNPROVEN)}, policy(off="b")) == NOTHING
    assert choose({"x": earlier(UNPROVEN)}) == NOTHING


@pytest.mark.parametrize(("demanded", "is_enough"), [(1, True), (2, True), (3, True), (4, False)])
def test_where_nobody_may_be_asked_only_enough_answers_are_given(demanded: int, is_enough: bool) -> None:
    expected = Reuse(FITTING, {}, is_only=True) if is_enough else NOTHING
    assert choose(demanded=demanded, may_ask=False) == expected


def test_where_nobody_may_be_asked_the_shadow_sample_is_drawn_all_the_same_while_there_is_money() -> None:
    assert choose(chosen=policy(1.0), may_ask=False) == Reuse({}, FITTING, is_only=True)
    assert choose(chosen=policy(1.0), may_ask=False, may_compare=False) == Reuse(FITTING, {}, is_only=True)
    assert choose(chosen=policy(1.0), may_ask=False, demanded=4) == NOTHING


def test_where_nobody_may_be_asked_refused_and_disabled_do_not_count_as_answers() -> None:
    found = FITTING | {"a": earlier("too_old")}
    assert choose(found, demanded=2, may_ask=False) == Reuse({"b": found["b"], "c": found["c"]}, {}, is_only=True)
    assert choose(found, demanded=3, may_ask=False) == NOTHING
    assert choose(found, policy(off="b"), demanded=2, may_ask=False) == NOTHING
    assert choose(FITTING | {"a": earlier(UNPROVEN)}, demanded=3, may_ask=False) == NOTHING


def test_who_may_be_asked_is_not_held_to_enough_answers() -> None:
    only_one = {"a": FITTING["a"]}
    assert choose(only_one, demanded=5) == Reuse(only_one, {}, is_only=False)


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.builds(earlier, st.sampled_from(["", "too_old", "volatile", UNPROVEN, HARMFUL]))
    ),
    st.floats(0, 1),
    st.sets(st.sampled_from("abc")),
    st.text(max_size=5),
    st.integers(1, 4),
    st.booleans(),
)
def test_nothing_refused_is_ever_given_and_nothing_is_both_given_and_compared(
    found: dict[str, EarlierAnswer], share: float, off: set[str], key: str, demanded: int, may_ask: bool
) -> None:
    chosen = choose(found, policy(share, off="".join(off)), key, demanded, may_ask=may_ask)
    fitting = {name for name, it in found.items() if not it.refusal and name not in off}
    compared = {name for name, it in found.items() if it.refusal in COMPARED and name not in off}
    assert not set(chosen.given) & set(chosen.shadowed)
    assert set(chosen.given) <= fitting
    assert {**chosen.given, **chosen.shadowed}.items() <= found.items()
    assert chosen.is_only == (not may_ask and len(fitting) >= demanded)
    if may_ask:
        assert chosen.names == fitting | compared
    else:
        assert chosen.names == (fitting if chosen.is_only else set())
