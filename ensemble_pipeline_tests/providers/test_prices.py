import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers as price_list
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import CallStatus, Usage
from ensemble_pipeline.errors import SettingsError, UnknownPriceError
from ensemble_pipeline.providers.base import Prompt, RawReply
from ensemble_pipeline.providers.prices import CostSource, cost_micro_usd, max_input_tokens, worst_case_micro_usd
from ensemble_pipeline_tests.providers.helpers import MODELS, member_of, prompt_of

SETTINGS_PRICES = {"input_usd_per_mtok": "3", "output_usd_per_mtok": "15"}
LIST_NAMES = {"xai": "x-ai", "openai": "openai", "anthropic": "anthropic", "openrouter": "openrouter"}


def reply_of(model: str, usage: Usage, reported: int | None = None, cache_write_tokens: int = 0) -> RawReply:
    return RawReply("", model, usage, reported, 1, CallStatus.ANSWERED, cache_write_tokens=cache_write_tokens)


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
        cost_micro_usd(reply_of("gpt-5.4-mini", Usage(1, 1)), member)


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
)
def test_no_usage_within_bounds_costs_more_than_the_worst_case(
    provider: str, data: Any, length: int, has_settings: bool
) -> None:
    prompt = Prompt("forecaster", 1, "", "", "x" * length)
    member = member_of(provider, **(SETTINGS_PRICES if has_settings else {}))
    tokens_in = data.draw(st.integers(0, max_input_tokens(prompt)))
    tokens_out = data.draw(st.integers(0, member.max_output_tokens))
    cached = data.draw(st.integers(0, tokens_in))
    written = data.draw(st.integers(0, tokens_in - cached))
    reply = reply_of(member.model, Usage(tokens_in, tokens_out, cached), cache_write_tokens=written)
    cost, _ = cost_micro_usd(reply, member)
    assert 0 <= cost <= worst_case_micro_usd(prompt, member)


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
        usage = Usage(max_input_tokens(prompt), member.max_output_tokens, 500)
        cost, source = cost_micro_usd(reply_of(model.id, usage, cache_write_tokens=500), member)
        assert source is CostSource.PRICE_LIST
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
