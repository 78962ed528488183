import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import (
    Answer,
    CacheKind,
    CallStatus,
    EarlierAnswer,
    Evidence,
    MarketStatus,
    ModelReply,
    RequestReason,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.ensemble.cache import (
    Asked,
    Memory,
    is_same_model,
    is_worth_keeping,
    key_of,
    price_distance,
    refusal_of,
)
from ensemble_pipeline.ensemble.cache_evidence import UNPROVEN
from ensemble_pipeline.ensemble.similarity import similarity, twin_key
from ensemble_pipeline.providers.prompts import known_roles, prompt_wording
from ensemble_pipeline.settings import MemberSettings, Policy
from ensemble_pipeline.store import calls
from ensemble_pipeline.store.answer_cache import KEY_COLUMNS, CacheEntry, CacheKey
from ensemble_pipeline.store.calibrations import Calibration, CategoryIntercept
from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline_tests.ensemble.history import put_forecasts
from ensemble_pipeline_tests.ensemble.parts import book, member_of, policy_of, snapshot_of
from ensemble_pipeline_tests.store.rows import DAY, NOW, market_of, quote_of

MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
SAME, SIMILAR = CacheKind.SAME, CacheKind.SIMILAR
KEY = CacheKey(
    prompt_hash="prompt",
    rules_digest="rules",
    news_digest="news",
    calibration_epoch="epoch",
    shows_price=False,
    mid=0.5,
    twin_key="twin",
)


def entry_of(key: CacheKey = KEY, **changes: Any) -> CacheEntry:
    """An answer of model a, which `a-1` gave ten minutes ago."""
    fields: dict[str, Any] = {
        "forecast_id": 7,
        "model_id": "a",
        "market": market_of(),
        "answered_at": NOW - 10 * MINUTE,
        "response_model": "a-1",
        "key": key,
        "is_superseded": False,
    }
    return CacheEntry(**(fields | changes))


def refusal(
    entry: CacheEntry | None = None,
    now: CacheKey = KEY,
    kind: CacheKind = SAME,
    response_model: str | None = "a-1",
    at: datetime = NOW,
    **options: Any,
) -> str:
    return refusal_of(entry or entry_of(), kind, now, response_model, at, policy_of(cache=options).cache)


def refusal_with(oldest: timedelta, entry: CacheEntry, response_model: str = "a-1", **changes: Any) -> str:
    """By the bounds of an emergency, after these changes of the key."""
    now = replace(KEY, **changes)
    return refusal_of(entry, SAME, now, response_model, NOW, policy_of().cache, emergency_age=oldest)


# what changed since the answer was given, and the cause that names it, in the order of causes
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("too_old", {"at": NOW + DAY}),
    ("price_unknown", {"mid": None}),
    ("price_moved", {"mid": 0.6}),
    ("rules_changed", {"rules_digest": "other", "twin_key": "other"}),
    ("news_changed", {"news_digest": "other"}),
    ("prompt_changed", {"prompt_hash": "other"}),
    ("prompt_changed", {"shows_price": True}),
    ("model_changed", {"response_model": "a-2"}),
    ("model_changed", {"response_model": None}),
    ("model_changed", {"response_model": "A-1"}),
    ("model_changed", {"response_model": ""}),
    ("calibration_changed", {"calibration_epoch": "other"}),
]


def refusal_after(changes: Mapping[str, Any], kind: CacheKind = SAME, entry: CacheEntry | None = None) -> str:
    outside = {name: value for name, value in changes.items() if name in ("at", "response_model")}
    key = replace(KEY, **{name: value for name, value in changes.items() if name not in outside})
    return refusal(entry, key, kind, **outside)


@pytest.mark.parametrize("kind", list(CacheKind))
def test_where_nothing_changed_nothing_refuses(kind: CacheKind) -> None:
    assert refusal(kind=kind) == ""


@pytest.mark.parametrize("kind", list(CacheKind))
@pytest.mark.parametrize(("cause", "changes"), CHANGES)
def test_one_thing_changed_refuses_and_is_named(cause: str, changes: dict[str, Any], kind: CacheKind) -> None:
    assert refusal_after(changes, kind) == cause


def merged(steps: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return {name: value for _, changes in reversed(steps) for name, value in changes.items()}


@pytest.mark.parametrize("kind", list(CacheKind))
@pytest.mark.parametrize("left_out", ["price_moved", "price_unknown"])
def test_of_several_things_that_changed_the_first_is_named(left_out: str, kind: CacheKind) -> None:
    # a price that moved and one that is unknown exclude each other
    steps = [step for step in CHANGES if step[0] != left_out]
    named = [refusal_after(merged(steps[place:]), kind) for place in range(len(steps))]
    assert named == [cause for cause, _ in steps]


@pytest.mark.parametrize("kind", list(CacheKind))
def test_answer_from_the_future_is_refused_before_anything_else_is_looked_at(kind: CacheKind) -> None:
    assert refusal_after(merged(CHANGES), kind, entry_of(answered_at=NOW + 2 * DAY)) == "from_the_future"


@given(
    st.fixed_dictionaries(
        {
            "prompt_hash": st.sampled_from(["prompt", "other"]),
            "rules_digest": st.sampled_from(["rules", "other"]),
            "news_digest": st.sampled_from(["news", "other"]),
            "calibration_epoch": st.sampled_from(["epoch", "other"]),
            "shows_price": st.booleans(),
            "mid": st.sampled_from([0.5, 0.52, 0.53, None]),
            "twin_key": st.sampled_from(["twin", "other"]),
            "response_model": st.sampled_from(["a-1", "a-2", None]),
            "at": st.sampled_from([NOW, NOW + 20 * MINUTE, NOW + 21 * MINUTE, NOW - 11 * MINUTE]),
        }
    ),
    st.sampled_from(CacheKind),
)
def test_nothing_refuses_only_where_nothing_material_changed(changes: dict[str, Any], kind: CacheKind) -> None:
    same_rules = changes["rules_digest"] == "rules" if kind is SAME else changes["twin_key"] == "twin"
    same_rest = (
        changes["prompt_hash"] == "prompt"
        and changes["news_digest"] == "news"
        and changes["calibration_epoch"] == "epoch"
        and not changes["shows_price"]
        and changes["mid"] in {0.5, 0.52}
        and changes["response_model"] == "a-1"
        and changes["at"] in {NOW, NOW + 20 * MINUTE}
    )
    assert (refusal_after(changes, kind) == "") == (same_rules and same_rest)


@pytest.mark.parametrize(
    ("age", "cause"),
    [
        (-timedelta(days=1), "from_the_future"),
        (-MICROSECOND, "from_the_future"),
        (timedelta(0), ""),
        (30 * MINUTE, ""),
        (30 * MINUTE + MICROSECOND, "too_old"),
        (timedelta(days=1), "too_old"),
    ],
)
def test_answer_is_given_again_up_to_thirty_minutes_and_no_microsecond_longer(age: timedelta, cause: str) -> None:
    assert refusal(entry_of(answered_at=NOW - age)) == cause


def test_greatest_age_of_zero_lets_through_what_was_answered_this_very_instant() -> None:
    assert refusal(entry_of(answered_at=NOW), max_age_minutes=0) == ""
    assert refusal(entry_of(answered_at=NOW - MICROSECOND), max_age_minutes=0) == "too_old"


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.52), (0.52, 0.5), (0.04, 0.05), (0.97, 0.96), (0.0, 1.0)])
def test_price_move_of_exactly_the_distance_refuses_and_a_hair_less_does_not(before: float, after: float) -> None:
    moved = price_distance(before, after)
    assert moved is not None
    entry, now = entry_of(replace(KEY, mid=before)), replace(KEY, mid=after)
    assert refusal(entry, now, max_price_move_logit=moved) == "price_moved"
    assert refusal(entry, now, max_price_move_logit=math.nextafter(moved, 0)) == "price_moved"
    assert refusal(entry, now, max_price_move_logit=math.nextafter(moved, math.inf)) == ""


def test_price_that_moved_by_the_usual_distance_worked_by_hand() -> None:
    # ln(.52 / .48) is .080, ln(.53 / .47) is .120; far from even odds a cent is more: ln(.05 / .95 * .96 / .04) is .234
    assert refusal(now=replace(KEY, mid=0.52)) == ""
    assert refusal(now=replace(KEY, mid=0.53)) == "price_moved"
    assert refusal(entry_of(replace(KEY, mid=0.04)), replace(KEY, mid=0.05)) == "price_moved"


def test_distance_of_zero_refuses_even_a_price_that_stood_still() -> None:
    assert refusal(max_price_move_logit=0) == "price_moved"


def test_price_unknown_on_one_side_refuses_and_on_both_it_did_not_change() -> None:
    unknown = replace(KEY, mid=None)
    assert refusal(entry_of(unknown), unknown) == ""
    assert refusal(entry_of(unknown), KEY) == "price_unknown"
    assert refusal(entry_of(KEY), unknown) == "price_unknown"


def test_same_market_must_have_the_same_text_and_a_similar_one_the_same_meaning() -> None:
    other_text, other_meaning = replace(KEY, rules_digest="other"), replace(KEY, twin_key="other")
    assert refusal(now=other_text, kind=SAME) == "rules_changed"
    assert refusal(now=other_text, kind=SIMILAR) == ""
    assert refusal(now=other_meaning, kind=SIMILAR) == "rules_changed"


MEMBER = member_of("a")
NEWS = (
    Evidence(NOW - 3 * MINUTE, "Reuters", "The Fed meets."),
    Evidence(NOW - 2 * MINUTE, "Reuters", "The Fed has met."),
    Evidence(NOW - 1 * MINUTE, "AP", "Nobody knows."),
)
CALIBRATION = Calibration(1, NOW, 1.1, 300, 250.0, 0.3, 400.0, (CategoryIntercept("Climate", 0.2, 250.0),))


def asked_of(calibration: Calibration = CALIBRATION, policy: Policy | None = None, at: datetime = NOW) -> Asked:
    return Asked(policy or policy_of(), calibration, at)


def key(
    asked: Asked | None = None,
    member: MemberSettings = MEMBER,
    snapshot: Snapshot | None = None,
    evidence: Sequence[Evidence] = NEWS,
) -> CacheKey:
    return key_of(asked or asked_of(), member, snapshot or snapshot_of(), evidence)


def changed_fields(other: CacheKey) -> set[str]:
    return {name for name in KEY_COLUMNS if getattr(other, name) != getattr(key(), name)}


def with_market(**changes: Any) -> Snapshot:
    made = snapshot_of()
    return replace(made, market=replace(made.market, **changes))


def recalibrated(**changes: Any) -> CacheKey:
    return key(asked_of(replace(CALIBRATION, **changes)))


def with_intercept(category: str, intercept: float, events: float = 250.0) -> CacheKey:
    return recalibrated(intercepts=(CategoryIntercept(category, intercept, events),))


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"question": "Will RAIN-2 happen?"}, {"rules_digest", "twin_key"}),
        ({"question": "Will RAIN-1 happen"}, {"rules_digest"}),
        ({"rules": "Resolves NO if it happens."}, {"rules_digest", "twin_key"}),
        ({"rules": "Resolves YES if it happens"}, {"rules_digest"}),
        ({"category": "Sports"}, {"rules_digest", "twin_key"}),
        ({"closes_at": NOW + 10 * DAY + MICROSECOND}, {"rules_digest"}),
        ({"question": "Will RAIN-1 happen?Resolves YES if it happens.", "rules": ""}, {"rules_digest", "twin_key"}),
    ],
)
def test_key_changes_with_every_word_of_a_market_and_with_its_close(changes: dict[str, Any], fields: set[str]) -> None:
    assert changed_fields(key(snapshot=with_market(**changes))) == fields


@pytest.mark.parametrize(
    "evidence",
    [
        NEWS[:2],
        NEWS[1:],
        (),
        (*NEWS, NEWS[0]),
        (*NEWS, Evidence(NOW, "AP", "Late news.")),
        (replace(NEWS[0], text="The Fed meets"), *NEWS[1:]),
        (replace(NEWS[0], source="Bloomberg"), *NEWS[1:]),
        (replace(NEWS[0], published_at=NEWS[0].published_at + MICROSECOND), *NEWS[1:]),
        (replace(NEWS[0], text=NEWS[1].text), replace(NEWS[1], text=NEWS[0].text), NEWS[2]),
        pytest.param(
            (replace(NEWS[0], source="Reuters The", text="Fed meets."), *NEWS[1:]),
            id="words that moved from text to source",
        ),
    ],
)
def test_key_changes_with_each_piece_of_evidence(evidence: tuple[Evidence, ...]) -> None:
    assert changed_fields(key(evidence=evidence)) == {"news_digest"}


def test_key_of_no_evidence_is_not_that_of_empty_evidence() -> None:
    assert key(evidence=()).news_digest != key(evidence=[Evidence(NOW, "", "")]).news_digest


def test_key_changes_with_the_prompt_of_the_role() -> None:
    keys = {role: key(member=member_of("a", role=role)) for role in known_roles()}
    assert len({it.prompt_hash for it in keys.values()}) == len(known_roles()) > 1
    assert changed_fields(keys["base_rate"]) == {"prompt_hash"}
    assert changed_fields(keys["forecaster"]) == set()
    assert keys["forecaster"].prompt_hash == prompt_wording("forecaster").prompt_hash


def test_key_changes_with_whether_members_see_the_price() -> None:
    shown = policy_of(ensemble={"show_market_price": True})
    assert changed_fields(key(asked_of(policy=shown))) == {"shows_price"}


@pytest.mark.parametrize(
    "other",
    [
        recalibrated(slope=math.nextafter(1.1, 2)),
        recalibrated(market_weight=math.nextafter(0.3, 1)),
        recalibrated(intercepts=()),
        with_intercept("Climate", math.nextafter(0.2, 1)),
        with_intercept("Sports", 0.2),
    ],
)
def test_key_changes_with_what_the_calibration_says(other: CacheKey) -> None:
    assert changed_fields(other) == {"calibration_epoch"}


def test_key_follows_the_price() -> None:
    assert key(snapshot=snapshot_of(quote_of("0.40", "0.44"))).mid == pytest.approx(0.42)
    assert key(snapshot=snapshot_of(quote_of(None, "0.44"))).mid is None
    assert changed_fields(key(snapshot=snapshot_of(quote_of("0.41", "0.43")))) == {"mid"}


@pytest.mark.parametrize(
    "other",
    [
        key(snapshot=with_market(status=MarketStatus.PAUSED)),
        key(snapshot=with_market(opened_at=NOW - 99 * DAY)),
        key(snapshot=with_market(market_id="kalshi:X", ticker="X", event_id="kalshi:Y", series="Z", venue="other")),
        key(snapshot=snapshot_of(book("0.40", "0.42", sizes=("1", "9")))),
        key(snapshot=snapshot_of(book("0.40", "0.42", last="0.10", volume="5"))),
        key(snapshot=snapshot_of(quote_of("0.39", "0.43"))),
        key(snapshot=snapshot_of(quote_of(at=NOW - MINUTE), 9)),
        key(snapshot=replace(snapshot_of(), reason=RequestReason.MOVED, regime=VolatilityRegime.CALM)),
        key(evidence=NEWS[::-1]),
        key(evidence=[NEWS[1], NEWS[2], NEWS[0]]),
        recalibrated(calibration_id=2),
        recalibrated(as_of=NOW + DAY),
        recalibrated(n=301, effective_n=251.0, market_events=401.0),
        with_intercept("Climate", 0.2, 251.0),
        key(asked_of(at=NOW + MINUTE)),
        key(member=member_of("b")),
    ],
)
def test_key_does_not_change_with_what_an_answer_does_not_depend_on(other: CacheKey) -> None:
    assert other == key()


@given(
    st.lists(st.builds(Evidence, st.just(NOW) | st.just(NOW - MINUTE), st.text(max_size=3), st.text(max_size=3))),
    st.data(),
)
def test_order_of_evidence_never_matters(evidence: list[Evidence], data: st.DataObject) -> None:
    assert key(evidence=evidence) == key(evidence=data.draw(st.permutations(evidence)))


def test_key_of_text_with_lone_surrogates_and_controls_is_a_sha_256() -> None:
    odd = "\ud800\x00\u202e"
    made = key(snapshot=with_market(question=odd, rules=odd), evidence=[Evidence(NOW, odd, odd)])
    assert [len(bytes.fromhex(it)) for it in (made.rules_digest, made.news_digest, made.twin_key)] == [32, 32, 32]


def reply_of(p_yes: float = 0.7, confidence: float = 0.9, model: str = "a", **changes: Any) -> ModelReply:
    answer = Answer(p_yes, confidence, "because")
    fields: dict[str, Any] = {
        "status": CallStatus.ANSWERED,
        "response_model": model,
        "text": "",
        "usage": None,
        "latency_ms": 10,
        "cost_micro_usd": 5,
        "cost_source": "reported",
        "answer": answer,
    }
    return ModelReply(**(fields | changes))


def is_kept(
    reply: ModelReply | None = None, snapshot: Snapshot | None = None, member: MemberSettings = MEMBER, **options: Any
) -> bool:
    return is_worth_keeping(policy_of(cache=options), member, snapshot or snapshot_of(), reply or reply_of())


@pytest.mark.parametrize("p_yes", [0.7, 0.1])
def test_sure_answer_that_would_trade_a_calm_market_is_kept(p_yes: float) -> None:
    assert is_kept(reply_of(p_yes))


def test_nothing_is_kept_while_the_cache_is_off() -> None:
    assert not is_kept(is_enabled=False)


def test_reply_without_an_answer_is_not_kept() -> None:
    assert not is_kept(reply_of(answer=None, status=CallStatus.UNREADABLE, problem="no JSON"))


@pytest.mark.parametrize(
    ("confidence", "expected"), [(0.0, False), (math.nextafter(0.5, 0), False), (0.5, True), (1.0, True)]
)
def test_answer_with_confidence_below_one_half_is_not_kept(confidence: float, expected: bool) -> None:
    assert is_kept(reply_of(confidence=confidence)) is expected


def test_bound_of_confidence_is_the_setting() -> None:
    assert not is_kept(reply_of(confidence=0.7), min_confidence=0.8)
    assert is_kept(reply_of(confidence=0.4), min_confidence=0.4)


@pytest.mark.parametrize("regime", list(VolatilityRegime))
def test_answer_about_a_volatile_market_is_not_kept(regime: VolatilityRegime) -> None:
    snapshot = replace(snapshot_of(), regime=regime)
    assert is_kept(snapshot=snapshot) is (regime is not VolatilityRegime.VOLATILE)


@pytest.mark.parametrize(
    ("p_yes", "confidence", "expected"),
    [
        (0.41, 0.9, False),
        (0.45, 0.9, False),
        # 0.42 and a fee of 1.8 cents, rounded up: an edge of 7.2 cents is enough for who is sure alone
        (0.51, 0.9, True),
        (0.51, 0.7, False),
        (0.53, 0.7, True),
        (0.53, 0.55, False),
        (0.57, 0.55, True),
    ],
)
def test_answer_by_which_its_model_would_do_nothing_is_not_kept(
    p_yes: float, confidence: float, expected: bool
) -> None:
    assert is_kept(reply_of(p_yes, confidence)) is expected


@pytest.mark.parametrize(
    ("bid", "ask", "p_yes", "expected"),
    [
        (None, None, 0.7, False),
        # nobody sells YES, and NO is not worth what it costs
        ("0.40", None, 0.7, False),
        (None, "0.42", 0.7, True),
        ("0.98", "0.99", 0.999, False),
    ],
)
def test_answer_where_the_book_offers_no_trade_is_not_kept(
    bid: str | None, ask: str | None, p_yes: float, expected: bool
) -> None:
    assert is_kept(reply_of(p_yes), snapshot_of(quote_of(bid, ask))) is expected


@pytest.mark.parametrize(("model", "expected"), [("a", True), ("a-2026-03-17", True), ("b", False), ("", False)])
def test_answer_of_a_model_that_stood_in_is_not_kept(model: str, expected: bool) -> None:
    assert is_kept(reply_of(model=model)) is expected


def test_it_is_the_model_on_the_wire_that_must_have_answered_not_the_name_of_the_member() -> None:
    member = member_of("grok", model="x-ai/grok-4.5")
    assert is_kept(reply_of(model="grok-4.5"), member=member)
    assert not is_kept(reply_of(model="grok"), member=member)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-5.4", "gpt-5.4"),
        ("gpt-5.4", "gpt-5.4-2026-03-17"),
        ("gpt-5.4-mini", "gpt-5.4-mini-2026-03-17"),
        ("claude-haiku-5-5", "claude-haiku-5-5-20251001"),
        ("gpt-4", "gpt-4-0613"),
        ("grok-4.5", "grok-4.5-latest"),
        ("GPT-5.4", "gpt-5.4"),
        ("gpt-5.4", "GPT-5.4-2026-03-17"),
        ("openai/gpt-5.4", "gpt-5.4"),
        ("gpt-5.4", "openai/gpt-5.4"),
        ("openai/gpt-5.4", "openai/gpt-5.4-2026-03-17"),
        ("x-ai/grok-4.6:online", "grok-4.6"),
        ("x-ai/grok-4.6:online", "x-ai/grok-4.6"),
        ("x-ai/grok-4.6", "x-ai/grok-4.6:online"),
        ("gpt-5.4-2026-03-17", "gpt-5.4-2026-03-17"),
        ("llama3.2", "llama3.2:latest"),
    ],
)
def test_same_model_is_known_by_version_vendor_and_variant(asked: str, answered: str) -> None:
    assert is_same_model(asked, answered)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-5.4", "gpt-5.4-mini"),
        ("gpt-5.4-mini", "gpt-5.4"),
        ("gpt-5.4", "gpt-5.4-mini-2026-03-17"),
        ("gpt-5.4-mini", "gpt-5.4-nano"),
        ("gpt-5.4", "gpt-5.5"),
        ("gpt-5", "gpt-5.4"),
        ("gpt-5.4", "gpt-5"),
        ("gpt-4", "gpt-4o"),
        ("grok-3", "grok-4.3"),
        ("grok-4.5", "grok-4.5-fast"),
        ("claude-haiku-5-5", "claude-haiku-5"),
        ("claude-haiku-5-5", "claude-sonnet-5-5"),
        ("openai/gpt-5.4", "openai/gpt-5.4-mini"),
        ("openai/gpt-5.4", "anthropic/claude-haiku-5-5"),
        # who asks for one version did not ask for another
        ("gpt-5.4-2026-03-17", "gpt-5.4-2025-12-01"),
        ("gpt-5.4-2026-03-17", "gpt-5.4"),
        ("gpt-5.4", "gpt-5.4-202"),
        ("gpt-5.4", "gpt-5.4-2026-03-17-mini"),
        ("gpt-5.4", ""),
        ("gpt-5.4", "gpt-5.4 "),
        pytest.param(
            "llama3.2:1b",
            "llama3.2:3b",
        ),
        pytest.param(
            "qwen3:8b",
            "qwen3:32b",
        ),
        pytest.param(
            "claude-haiku-5-5:thinking",
            "claude-haiku-5-5",
        ),
    ],
)
def test_other_model_is_not_taken_for_the_one_that_was_asked(asked: str, answered: str) -> None:
    assert not is_same_model(asked, answered)


PRICES = st.floats(0, 1)


def distance(before: float, after: float) -> float:
    found = price_distance(before, after)
    assert found is not None
    return found


def test_price_distance_worked_by_hand() -> None:
    # ln 3 to either side of even odds
    assert distance(0.5, 0.75) == pytest.approx(math.log(3))
    assert distance(0.25, 0.75) == pytest.approx(2 * math.log(3))
    assert distance(0.4, 0.4) == 0


def test_price_distance_ends_at_a_tenth_of_a_cent() -> None:
    assert distance(0.0, 1.0) == pytest.approx(2 * math.log(999))
    assert distance(0.0, 0.001) == distance(0.0005, 0.001) == distance(0.999, 1.0) == 0
    assert distance(0.0, 0.002) == distance(0.001, 0.002) > 0.5


@pytest.mark.parametrize(("before", "after"), [(None, 0.5), (0.5, None), (None, None)])
def test_distance_of_a_price_nobody_knows_is_unknown(before: float | None, after: float | None) -> None:
    assert price_distance(before, after) is None


@given(PRICES, PRICES)
def test_price_distance_is_the_same_both_ways_and_never_negative(one: float, two: float) -> None:
    assert distance(one, two) == distance(two, one) >= 0
    assert distance(one, one) == 0


@given(PRICES, PRICES)
def test_price_distance_is_the_same_for_the_mirrored_market(one: float, two: float) -> None:
    assert distance(1 - one, 1 - two) == pytest.approx(distance(one, two), abs=1e-9)


@given(PRICES, PRICES, PRICES)
def test_price_distance_adds_up_along_the_way(one: float, two: float, three: float) -> None:
    low, middle, high = sorted((one, two, three))
    assert distance(low, high) == pytest.approx(distance(low, middle) + distance(middle, high), abs=1e-9)


FED = "Will the Federal Reserve cut the federal funds rate by 25 bps or more before December 31, 2026?"
FED_ELSEWHERE = FED.replace("the federal funds", "federal funds")
FED_RULES = "Resolves YES if the statement of the Federal Reserve says so before December 31, 2026, and else NO."
SENATE = "Will the Democratic Party win 51 seats of the Senate or more before December 31, 2026?"
PROVEN = {SAME: "", SIMILAR: ""}


def fed_snapshot(regime: VolatilityRegime = VolatilityRegime.CALM) -> Snapshot:
    asked = snapshot_of(ticker="FED-1", event="FED", category="Economics")
    return replace(asked, market=replace(asked.market, question=FED, rules=FED_RULES), regime=regime)


def elsewhere(question: str = FED_ELSEWHERE, number: int = 1) -> Snapshot:
    """The same asked in another series."""
    asked = snapshot_of(ticker=f"TWIN-{number}", event=f"TWIN{number}", category="Economics")
    return replace(asked, market=replace(asked.market, question=question, rules=FED_RULES))


def answered(snapshot: Snapshot, model: str = "a", forecast_id: int = 1, **changes: Any) -> CacheEntry:
    """An answer of a model ten minutes ago, about a market that has not changed since."""
    made = key_of(asked_of(), member_of(model), snapshot, NEWS)
    fields = {"model_id": model, "forecast_id": forecast_id, "response_model": f"{model}-2026-03-17"}
    return entry_of(made, market=snapshot.market, **(fields | changes))


ANSWERING = {"a": "a-2026-03-17", "b": "b-2026-03-17", "c": "c-2026-03-17"}


def found_by(
    same: Sequence[CacheEntry] = (),
    twins: Sequence[CacheEntry] = (),
    *,
    members: Sequence[MemberSettings] = (MEMBER,),
    snapshot: Snapshot | None = None,
    answering: Mapping[str, str] = ANSWERING,
    allowed: Mapping[CacheKind, str] = PROVEN,
    evidence: Sequence[Evidence] = NEWS,
    **options: Any,
) -> dict[str, EarlierAnswer]:
    memory = Memory(asked_of(policy=policy_of(cache=options)), same, twins, answering, allowed)
    return memory.earlier(snapshot or fed_snapshot(), members, evidence)


def test_nothing_is_found_where_nothing_was_answered() -> None:
    assert found_by() == {}


def test_answer_to_the_same_market_is_found_with_what_it_was() -> None:
    assert found_by([answered(fed_snapshot())]) == {
        "a": EarlierAnswer(
            forecast_id=1,
            kind=SAME,
            refusal="",
            age_s=600.0,
            price_distance=0.0,
            similarity=1.0,
        )
    }


def test_answer_to_a_similar_market_is_found_with_its_likeness() -> None:
    twin = answered(elsewhere(), answered_at=NOW - 20 * MINUTE)
    likeness = similarity(fed_snapshot().market, elsewhere().market)
    assert 0.9 < likeness < 1
    assert found_by(twins=[twin]) == {"a": EarlierAnswer(1, SIMILAR, "", 1200.0, 0.0, likeness)}


def test_same_market_is_preferred_to_one_that_is_only_similar() -> None:
    older = answered(fed_snapshot(), answered_at=NOW - 29 * MINUTE)
    found = found_by([older], [answered(elsewhere(), forecast_id=2)])
    assert (found["a"].kind, found["a"].forecast_id) == (SAME, 1)


def test_similar_market_is_used_where_the_answer_to_the_same_one_is_refused() -> None:
    old = answered(fed_snapshot(), answered_at=NOW - 31 * MINUTE)
    found = found_by([old], [answered(elsewhere(), forecast_id=2)])
    assert (found["a"].kind, found["a"].forecast_id, found["a"].refusal) == (SIMILAR, 2, "")


def test_refused_answer_to_the_same_market_is_told_where_no_other_is_alike() -> None:
    old = answered(fed_snapshot(), answered_at=NOW - 31 * MINUTE)
    found = found_by([old], [answered(elsewhere(SENATE), forecast_id=2)])
    assert (found["a"].kind, found["a"].forecast_id, found["a"].refusal) == (SAME, 1, "too_old")


def test_nothing_is_given_where_both_are_refused() -> None:
    then = NOW - 31 * MINUTE
    twin = answered(elsewhere(), forecast_id=2, answered_at=then)
    found = found_by([answered(fed_snapshot(), answered_at=then)], [twin])
    assert found["a"].refusal == "too_old"


def test_fed_rate_answer_is_never_found_for_a_senate_race() -> None:
    fed = answered(fed_snapshot())
    # even if it came under the key of the Senate race
    forged = replace(fed, key=answered(elsewhere(SENATE)).key)
    assert found_by(twins=[fed, forged], snapshot=elsewhere(SENATE)) == {}
    assert found_by([fed], snapshot=elsewhere(SENATE)) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"closes_at": NOW + 10 * DAY + timedelta(hours=2)},
        {"event_id": "kalshi:FED"},
        {"series": "FED"},
        {"category": "Politics"},
        {"question": FED.replace("25", "50")},
        {"rules": FED_RULES.replace("YES", "yes if not")},
    ],
)
def test_market_that_could_settle_otherwise_is_not_found(changes: dict[str, Any]) -> None:
    twin = answered(elsewhere())
    assert "a" in found_by(twins=[twin])
    assert found_by(twins=[replace(twin, market=replace(twin.market, **changes))]) == {}


def test_market_that_asked_something_else_when_it_was_answered_is_refused() -> None:
    now_alike = replace(answered(elsewhere(SENATE)), market=elsewhere().market)
    assert found_by(twins=[now_alike])["a"].refusal == "rules_changed"


def test_market_less_alike_than_demanded_is_not_found() -> None:
    twin = answered(elsewhere())
    assert found_by(twins=[twin], min_similarity=1) == {}
    exact = answered(elsewhere(FED))
    assert found_by(twins=[twin, exact], min_similarity=1)["a"].similarity == 1
    short = replace(fed_snapshot(), market=replace(fed_snapshot().market, question="Will the Fed cut?"))
    assert found_by(twins=[answered(elsewhere("Fed cut?"))], snapshot=short) == {}
    assert similarity(short.market, elsewhere("Fed cut?").market) > 0


def test_newest_of_several_similar_markets_is_taken() -> None:
    twins = [answered(elsewhere(number=2), forecast_id=5), answered(elsewhere(number=1), forecast_id=4)]
    assert found_by(twins=twins)["a"].forecast_id == 5


def test_entry_on_the_market_itself_is_no_similar_market() -> None:
    assert found_by(twins=[answered(fed_snapshot())]) == {}


def test_entry_of_another_model_is_never_found() -> None:
    of_b = [answered(fed_snapshot(), "b")], [answered(elsewhere(), "b", 2)]
    assert found_by(*of_b) == {}
    both = found_by(*of_b, members=[MEMBER, member_of("b"), member_of("c")])
    assert {name: it.forecast_id for name, it in both.items()} == {"b": 1}


def test_each_member_gets_its_own_answer() -> None:
    same = [answered(fed_snapshot(), name, number) for number, name in enumerate("abc", start=1)]
    found = found_by(same, members=[member_of(name) for name in "cab"])
    assert {name: it.forecast_id for name, it in found.items()} == {"a": 1, "b": 2, "c": 3}


def test_answer_that_another_model_gave_in_place_of_the_one_asked_is_refused() -> None:
    same = answered(fed_snapshot(), response_model="fallback-1")
    twin = answered(elsewhere(), response_model="fallback-1")
    assert found_by([same])["a"].refusal == "model_changed"
    assert found_by(twins=[twin])["a"].refusal == "model_changed"


@pytest.mark.parametrize("answering", [{}, {"b": "a-2026-03-17"}, {"a": "a-2026-04-01"}])
def test_answer_of_a_version_that_does_not_answer_now_is_refused(answering: dict[str, str]) -> None:
    assert found_by([answered(fed_snapshot())], answering=answering)["a"].refusal == "model_changed"


@pytest.mark.parametrize("model", ["a-mini", "b"])
def test_answer_of_the_model_that_a_member_had_before_is_refused(model: str) -> None:
    asks_other_now = member_of("a", model=model)
    assert found_by([answered(fed_snapshot())], members=[asks_other_now])["a"].refusal == "model_changed"


def test_answer_of_a_stand_in_is_refused_even_if_it_was_the_last_to_answer() -> None:
    stood_in = answered(fed_snapshot(), response_model="fallback-1")
    assert found_by([stood_in], answering={"a": "fallback-1"})["a"].refusal == "model_changed"


def test_volatile_market_refuses_what_nothing_else_does() -> None:
    volatile = fed_snapshot(VolatilityRegime.VOLATILE)
    same, twin = answered(fed_snapshot()), answered(elsewhere(), forecast_id=2)
    assert found_by([same], snapshot=volatile)["a"].refusal == "volatile"
    assert found_by(twins=[twin], snapshot=volatile)["a"].refusal == "volatile"
    assert found_by([same], [twin], snapshot=volatile)["a"].refusal == "volatile"
    old = replace(same, answered_at=NOW - 31 * MINUTE)
    assert found_by([old], snapshot=volatile)["a"].refusal == "too_old"


def test_kind_that_may_not_be_shared_is_refused_and_the_other_is_not() -> None:
    same, twin = answered(fed_snapshot()), answered(elsewhere(), forecast_id=2)
    unproven = {SAME: "", SIMILAR: UNPROVEN}
    assert found_by([same], [twin], allowed=unproven)["a"].refusal == ""
    assert found_by(twins=[twin], allowed=unproven)["a"].refusal == UNPROVEN
    assert found_by([same], allowed={SAME: "shown_harmful", SIMILAR: ""})["a"].refusal == "shown_harmful"


def test_what_changed_is_named_before_what_is_not_proven() -> None:
    twin = answered(elsewhere(), answered_at=NOW - 31 * MINUTE)
    assert found_by(twins=[twin], allowed={SAME: "", SIMILAR: UNPROVEN})["a"].refusal == "too_old"
    volatile = fed_snapshot(VolatilityRegime.VOLATILE)
    found = found_by(twins=[answered(elsewhere())], allowed={SAME: "", SIMILAR: UNPROVEN}, snapshot=volatile)
    assert found["a"].refusal == "volatile"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"quote": quote_of("0.43", "0.45")}, "price_moved"),
        ({"quote": quote_of(None, None)}, "price_unknown"),
        ({"market": replace(fed_snapshot().market, rules=FED_RULES + " Ties: NO.")}, "rules_changed"),
        ({"market": replace(fed_snapshot().market, closes_at=NOW + 11 * DAY)}, "rules_changed"),
    ],
)
def test_market_that_changed_since_refuses(changes: dict[str, Any], cause: str) -> None:
    assert found_by([answered(fed_snapshot())], snapshot=replace(fed_snapshot(), **changes))["a"].refusal == cause


def test_news_since_refuse() -> None:
    entry = answered(fed_snapshot())
    assert found_by([entry], evidence=NEWS[:2])["a"].refusal == "news_changed"
    assert found_by([entry], evidence=())["a"].refusal == "news_changed"


def test_answer_from_the_future_is_refused_and_has_no_negative_age() -> None:
    found = found_by([answered(fed_snapshot(), answered_at=NOW + MINUTE)])["a"]
    assert (found.refusal, found.age_s) == ("from_the_future", 0.0)


def put_answer(
    database: Database, at: datetime = NOW - 10 * MINUTE, *, model: str = "a", ticker: str = "RAIN-1"
) -> int:
    """A forecast that may be given again; returns it."""
    put_forecasts(database, {model: 0.7}, ticker=ticker, event=ticker.partition("-")[0], at=at)
    with database.connection() as connection:
        calls.save_prompt(connection, prompt_wording("forecaster"), at)
        connection.execute("update llm_queries set response_model = model_id || '-2026-03-17'")
        return _put_entry(connection, at, model, ticker)


def _put_entry(connection: Connection, at: datetime, model: str, ticker: str) -> int:
    snapshot = snapshot_of(ticker=ticker, event=ticker.partition("-")[0])
    kept = key_of(asked_of(), member_of(model), snapshot, ())
    row = connection.execute(
        f"insert into answer_cache (forecast_id, model_id, market_id, answered_at, response_model,"
        f" {', '.join(KEY_COLUMNS)}) select max(forecast_id), %s, %s, %s, %s,"
        f" {', '.join(['%s'] * len(KEY_COLUMNS))} from forecasts returning forecast_id",
        [model, snapshot.market.market_id, at, f"{model}-2026-03-17", *(getattr(kept, name) for name in KEY_COLUMNS)],
    ).fetchone()
    assert row is not None
    return int(row["forecast_id"])


def read(
    database: Database, at: datetime = NOW, policy: Policy | None = None, ticker: str = "RAIN-1"
) -> dict[str, Any]:
    snapshot = snapshot_of(ticker=ticker, event=ticker.partition("-")[0])
    with database.connection() as connection:
        memory = Memory.read(connection, asked_of(policy=policy, at=at), [snapshot], PROVEN)
        found = memory.earlier(snapshot, [member_of("a"), member_of("b")], ())
    return {name: (it.forecast_id, it.kind, it.refusal) for name, it in found.items()}


def test_read_finds_what_was_kept(database: Database) -> None:
    assert read(database) == {}
    assert read(database, policy=policy_of("a", "b")) == {}
    kept = put_answer(database)
    assert read(database) == {"a": (kept, SAME, "")}


def test_read_finds_nothing_while_the_cache_is_off(database: Database) -> None:
    put_answer(database)
    assert read(database, policy=policy_of(cache={"is_enabled": False})) == {}


def test_read_finds_the_newest_answer_that_was_given_by_then(database: Database) -> None:
    first, second = put_answer(database, NOW - 20 * MINUTE), put_answer(database, NOW - 10 * MINUTE)
    assert first != second
    assert read(database) == {"a": (second, SAME, "")}
    assert read(database, NOW - 15 * MINUTE) == {"a": (first, SAME, "")}
    assert read(database, NOW - 25 * MINUTE) == {}


def test_read_refuses_what_is_older_than_thirty_minutes(database: Database) -> None:
    kept = put_answer(database, NOW - 30 * MINUTE)
    assert read(database) == {"a": (kept, SAME, "")}
    assert read(database, NOW + MICROSECOND) == {"a": (kept, SAME, "too_old")}


def test_read_finds_no_answer_of_another_member_nor_to_another_market(database: Database) -> None:
    kept = put_answer(database, model="b")
    assert read(database) == {"b": (kept, SAME, "")}
    assert read(database, ticker="RAIN-2") == {}
    assert read(database, ticker="SNOW-1") == {}
    # who may not be asked is not looked for
    assert read(database, policy=policy_of("a", "c")) == {}


def test_read_finds_the_answer_to_a_market_that_asks_the_same(database: Database) -> None:
    kept = put_answer(database, ticker="SNOW-1")
    asked = snapshot_of(ticker="SNOW-1", event="SNOW").market
    same_words = replace(snapshot_of(), market=replace(market_of(), question=asked.question, rules=asked.rules))
    assert twin_key(same_words.market) == twin_key(asked)
    with database.connection() as connection:
        memory = Memory.read(connection, asked_of(), [same_words], PROVEN)
        late = Memory.read(connection, asked_of(at=NOW + 20 * MINUTE + MICROSECOND), [same_words], PROVEN)
    found = memory.earlier(same_words, [MEMBER, member_of("b")], ())
    assert {name: (it.forecast_id, it.kind, it.refusal) for name, it in found.items()} == {"a": (kept, SIMILAR, "")}
    assert late.earlier(same_words, [MEMBER], ()) == {}
