import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers as price_list
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import AnomalyKind, CallStatus, Usage
from ensemble_pipeline.errors import SettingsError, UnknownPriceError
from ensemble_pipeline.providers.base import Prompt, RawReply
from ensemble_pipeline.providers.prices import (
    Cost,
    CostSource,
    cost_of,
    highest_rates,
    max_input_tokens,
    worst_case_micro_usd,
)
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline_tests.providers.helpers import MODELS, member_of, prompt_of

SETTINGS_PRICES = {"input_usd_per_mtok": "3", "output_usd_per_mtok": "15"}
FREE = {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}
LIST_NAMES = {"xai": "x-ai", "openai": "openai", "anthropic": "anthropic", "openrouter": "openrouter"}


ROOM = 10**12


def reply_of(model: str, usage: Usage | None, reported: int | None = None, **changes: Any) -> RawReply:
    return RawReply("", model, usage, reported, 1, CallStatus.ANSWERED, **changes)


def cost_micro_usd(reply: RawReply, member: MemberSettings) -> tuple[int | None, CostSource]:
    """The cost of a reply that nobody has a doubt about."""
    found = cost_of(reply, member, ROOM, 10)
    assert found.anomalies == ()
    return found.micro_usd, found.source


def test_reported_cost_comes_first_then_the_list_then_the_settings() -> None:
    member = member_of("openai", **SETTINGS_PRICES)
    usage = Usage(1000, 100)
    assert cost_micro_usd(reply_of("gpt-5.4-mini", usage, reported=7), member) == (7, CostSource.REPORTED)
    assert cost_micro_usd(reply_of("gpt-5.4-mini", usage), member) == (1200, CostSource.PRICE_LIST)
    assert cost_micro_usd(reply_of("own-model", usage), member) == (4500, CostSource.SETTINGS)


def test_dated_name_of_a_model_is_priced() -> None:
    reply = reply_of("gpt-5.4-mini-2026-03-17", Usage(1000, 100))
    assert cost_micro_usd(reply, member_of("openai")) == (1200, CostSource.PRICE_LIST)


def test_long_prompt_moves_the_whole_request_to_the_higher_tier() -> None:
    reply = reply_of("grok-4.5", Usage(300_000, 1000))
    assert cost_micro_usd(reply, member_of("xai")) == (1_212_000, CostSource.PRICE_LIST)


def test_fractions_are_rounded_up() -> None:
    assert cost_micro_usd(reply_of("gpt-5.4-mini", Usage(1, 0)), member_of("openai"))[0] == 1


def test_provider_of_ones_own_is_not_looked_up_in_the_list() -> None:
    member = member_of("local", model="gpt-5.4-mini", input_usd_per_mtok=None, output_usd_per_mtok=None)
    with pytest.raises(UnknownPriceError):
        worst_case_micro_usd(prompt_of(), member)
    assert kinds(cost_of(reply_of("gpt-5.4-mini", Usage(1, 1)), member, 5, 10)) == [AnomalyKind.PRICE_UNKNOWN]


def kinds(cost: Cost) -> list[AnomalyKind]:
    return [it.kind for it in cost.anomalies]


@pytest.mark.parametrize("one", ["input_usd_per_mtok", "output_usd_per_mtok"])
def test_unknown_price_names_both_settings(one: str) -> None:
    with pytest.raises(UnknownPriceError) as caught:
        worst_case_micro_usd(prompt_of(), member_of("openai", model="own-model", **{one: "1"}))
    assert isinstance(caught.value, SettingsError)
    assert "`input_usd_per_mtok`" in str(caught.value)
    assert "`output_usd_per_mtok`" in str(caught.value)


def test_worst_case_is_zero_only_where_the_settings_say_so() -> None:
    assert worst_case_micro_usd(prompt_of(), member_of("local")) == 0
    for provider in LIST_NAMES:
        free = member_of(provider, input_usd_per_mtok="0", output_usd_per_mtok="0")
        assert worst_case_micro_usd(prompt_of(), free) > 0


def test_worst_case_is_worked_out_by_hand() -> None:
    prompt = Prompt("forecaster", 1, "", "s" * 400, "é" * 300)
    assert max_input_tokens(prompt) == 2000
    # 2000 in at 0.75, 1024 out at 4.50 dollars per million
    assert worst_case_micro_usd(prompt, member_of("openai")) == 1500 + 4608


def test_worst_case_of_a_decision_with_the_built_in_members_fits_its_budget() -> None:
    members = [member_of("xai", model="grok-4.5"), member_of("openai"), member_of("anthropic")]
    assert sum(worst_case_micro_usd(prompt_of(rules="x" * 8000), member) for member in members) < 80_000


@given(
    st.sampled_from([name for name in MODELS if name != "local"]),
    st.data(),
    st.integers(0, 400_000),
    st.booleans(),
    st.integers(0, 3),
)
def test_no_usage_within_bounds_costs_more_than_the_worst_case(
    provider: str, data: Any, length: int, has_settings: bool, searches: int
) -> None:
    prompt = Prompt("forecaster", 1, "", "", "x" * length)
    given = {"max_web_searches": searches, "web_search_usd": "0.02"} | (SETTINGS_PRICES if has_settings else {})
    member = member_of(provider, **given)
    # a call that used nothing at all is not believed
    tokens_in = data.draw(st.integers(1, max_input_tokens(prompt) + searches * member.web_search_tokens))
    tokens_out = data.draw(st.integers(0, member.max_output_tokens))
    cached = data.draw(st.integers(0, tokens_in))
    written = data.draw(st.integers(0, tokens_in - cached))
    for_an_hour, reasoning = data.draw(st.integers(0, written)), data.draw(st.integers(0, tokens_out))
    searches = data.draw(st.integers(0, member.max_web_searches))
    usage = Usage(tokens_in, tokens_out, cached, reasoning, written, for_an_hour, searches)
    worst = worst_case_micro_usd(prompt, member)
    found = cost_of(reply_of(member.model, usage), member, worst, 1)
    assert found.anomalies == ()
    assert found.micro_usd is not None
    assert 0 <= found.micro_usd <= worst


@pytest.mark.parametrize("provider", LIST_NAMES)
def test_every_model_of_the_list_is_priced_or_unknown_and_bounded(provider: str) -> None:
    (listed,) = [entry for entry in price_list if entry.id == LIST_NAMES[provider]]
    prompt = prompt_of()
    priced = 0
    for model in listed.models:
        member = member_of(provider, model=model.id)
        try:
            bound = worst_case_micro_usd(prompt, member)
        except UnknownPriceError:
            continue
        usage = Usage(max_input_tokens(prompt), member.max_output_tokens, 500, cache_write_tokens=500)
        cost, source = cost_micro_usd(reply_of(model.id, usage), member)
        assert source is CostSource.PRICE_LIST
        assert cost is not None
        assert 0 < cost <= bound
        priced += 1
    assert priced > 10


def test_importing_the_package_does_not_load_the_price_list() -> None:
    code = "import sys, ensemble_pipeline.providers.manager; print('genai_prices' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_settings_prices_of_more_than_a_micro_dollar_are_exact() -> None:
    member = member_of("local", input_usd_per_mtok="0.1", output_usd_per_mtok=Decimal("0.3"))
    assert cost_micro_usd(reply_of("any", Usage(10, 10)), member) == (4, CostSource.SETTINGS)


def test_search_that_nobody_knows_the_price_of_is_refused_before_and_unknown_after() -> None:
    member = member_of("openrouter", model="x-ai/grok-4.6", max_web_searches=2)
    with pytest.raises(UnknownPriceError, match="`web_search_usd`"):
        worst_case_micro_usd(prompt_of(), member)
    found = cost_of(reply_of("x-ai/grok-4.6", Usage(100, 10, web_searches=1)), member, ROOM, 10)
    assert (found.micro_usd, kinds(found)) == (None, [AnomalyKind.PRICE_UNKNOWN])
    priced = member.model_copy(update={"web_search_usd": Decimal("0.004")})
    # 100 in at 2 and 10 out at 6 dollars per million, and a search
    assert cost_micro_usd(reply_of("x-ai/grok-4.6", Usage(100, 10, web_searches=1)), priced)[0] == 260 + 4000


def test_worst_case_takes_each_price_from_whichever_of_list_and_settings_says_more() -> None:
    prompt = Prompt("forecaster", 1, "", "s" * 400, "é" * 300)
    # 2000 in at 0.75 by the list or 1, 1024 out at 4.50 by the list or 1 dollar per million
    member = member_of("openai", input_usd_per_mtok="1", output_usd_per_mtok="1")
    assert worst_case_micro_usd(prompt, member) == 2000 + 4608
    rates = highest_rates(prompt, member)
    assert (rates.input_usd_per_mtok, rates.output_usd_per_mtok) == (Decimal(1), Decimal("4.5"))


def test_worst_case_counts_each_search_with_what_it_finds() -> None:
    prompt = Prompt("forecaster", 1, "", "s" * 400, "é" * 300)
    member = member_of("openai", max_web_searches=3, web_search_tokens=1000)
    # 2000 + 3 · 1000 in at 0.75, 1024 out at 4.50 dollars per million, three searches at a cent
    assert worst_case_micro_usd(prompt, member) == 3750 + 4608 + 30_000


@pytest.mark.parametrize(
    ("reported", "usage", "expected", "odd"),
    [
        (1000, Usage(10, 10), (1000, "reported"), []),
        (1001, Usage(10, 10), (1001, "reported"), ["overrun"]),
        (10_000, Usage(10, 10), (10_000, "reported"), ["overrun"]),
        (10_001, Usage(1000, 10), (795, "price_list"), ["absurd_cost"]),
        # the list's own figure is not believed either, the settings' is
        (10_001, Usage(10**9, 10), (9, "settings"), ["absurd_cost"]),
        (10_001, None, (None, "unknown"), ["absurd_cost", "usage_missing"]),
        (None, Usage(10**9, 10), (9, "settings"), ["absurd_cost"]),
        (None, None, (None, "unknown"), ["usage_missing"]),
        (0, Usage(1000, 10), (795, "price_list"), ["zero_cost"]),
        (0, Usage(0, 0), (None, "unknown"), ["zero_cost"]),
        (0, Usage(10**9, 10), (9, "settings"), ["zero_cost", "absurd_cost"]),
        (0, None, (None, "unknown"), ["zero_cost", "usage_missing"]),
        (None, Usage(0, 0), (None, "unknown"), ["zero_cost"]),
        (7, Usage(0, 0), (7, "reported"), []),
    ],
)
def test_first_source_that_can_be_believed_says_the_cost(
    reported: int | None, usage: Usage | None, expected: tuple[int | None, str], odd: list[str]
) -> None:
    member = member_of("openai", input_usd_per_mtok="0.000000009", output_usd_per_mtok="0")
    found = cost_of(reply_of("gpt-5.4-mini", usage, reported), member, held_micro_usd=1000, believable_factor=10)
    assert (found.micro_usd, found.source, kinds(found)) == (*expected, odd)


@pytest.mark.parametrize(
    ("changes", "usage", "reported", "expected"),
    [
        # free by the settings, for a model that no list knows and for one that has a price there
        ({"model": "own-model", **FREE}, Usage(10, 10), None, (0, "settings")),
        ({"model": "own-model", **FREE}, Usage(0, 0), 0, (0, "reported")),
        (FREE, Usage(10, 10), 0, (0, "reported")),
        # free by its route, whatever the settings reckon with
        ({"model": "x-ai/grok-4.6:free", **SETTINGS_PRICES}, Usage(10, 10), 0, (0, "reported")),
        ({"model": "x-ai/grok-4.6:free", **SETTINGS_PRICES}, None, 0, (0, "reported")),
    ],
)
def test_nothing_is_believed_of_what_is_free(
    changes: dict[str, Any], usage: Usage | None, reported: int | None, expected: tuple[int, str]
) -> None:
    member, prompt = member_of("openrouter", **changes), prompt_of()
    found = cost_of(reply_of(member.model, usage, reported), member, worst_case_micro_usd(prompt, member), 10)
    assert (found.micro_usd, found.source, found.anomalies) == (*expected, ())


@pytest.mark.parametrize(
    "changes",
    [
        SETTINGS_PRICES,
        SETTINGS_PRICES | {"input_usd_per_mtok": "0"},
        FREE | {"max_web_searches": 1, "web_search_usd": "0.02"},
    ],
)
def test_nothing_is_not_believed_where_anything_has_a_price(changes: dict[str, Any]) -> None:
    member = member_of("openrouter", model="own-model", **changes)
    found = cost_of(reply_of("own-model", None, 0), member, worst_case_micro_usd(prompt_of(), member), 10)
    assert (found.micro_usd, kinds(found)) == (None, [AnomalyKind.ZERO_COST, AnomalyKind.USAGE_MISSING])


def test_cost_of_what_the_settings_call_free_is_not_believed() -> None:
    member = member_of("openrouter", model="own-model", input_usd_per_mtok="0", output_usd_per_mtok="0")
    held = worst_case_micro_usd(prompt_of(), member)
    found = cost_of(reply_of("own-model", Usage(10, 10), 1), member, held, 10)
    assert (held, found.micro_usd, kinds(found)) == (0, 0, [AnomalyKind.ABSURD_COST])
