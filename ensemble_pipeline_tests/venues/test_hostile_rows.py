"""Rows of the venue at and beyond every edge: cut, cleaned or refused by name, and never a crash."""

import re
from typing import Any

import pytest

from ensemble_pipeline.domain import Listing, RejectedRow, Settlement
from ensemble_pipeline.venues.kalshi.wire import read_event, read_settlement
from ensemble_pipeline_tests.fuzzing.pages import event, market, settled
from ensemble_pipeline_tests.providers.helpers import NOW

MEGABYTE = "x" * 1_000_000


def read(event_changes: dict[str, Any], market_changes: dict[str, Any]) -> Listing | RejectedRow:
    raw = event() | {"markets": [market("KXA-1") | market_changes]} | event_changes
    listings, rejected = read_event(raw, NOW)
    found: list[Listing | RejectedRow] = [*listings, *rejected]
    assert len(found) == 1
    return found[0]


def test_texts_of_any_length_are_cut_before_they_are_kept() -> None:
    found = read({"title": MEGABYTE, "category": MEGABYTE}, {"yes_sub_title": MEGABYTE, "rules_primary": MEGABYTE})
    assert isinstance(found, Listing)
    texts = (found.market.question, found.market.rules, found.market.category)
    assert [len(it) for it in texts] == [2000, 20_000, 100]
    assert all(it.endswith("x…") for it in texts)


def test_characters_that_steer_a_terminal_or_turn_the_writing_are_left_out() -> None:
    hostile = "a\x00b\x1b[2Jc\u202ed\u200be\x9bf\x1cg\x85h\u2028i\tj\r\nk\ud800"
    found = read({"title": hostile, "category": hostile}, {"yes_sub_title": None, "rules_primary": hostile})
    assert isinstance(found, Listing)
    assert found.market.question == found.market.category == "ab[2Jcdef g h i j k"
    assert found.market.rules == "ab[2Jcdef\ng\nh\ni j\nk"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"open_time": "0001-01-01T00:00:00+23:59"}, "open_time.* must lie in the years 1900 to 9000"),
        ({"close_time": "9999-12-31T23:59:59-23:59"}, "close_time.* must lie in the years"),
        ({"volume_fp": "1e999999"}, "volume_fp.* less than or equal to 1000000000000000"),
        ({"yes_bid_dollars": "NaN"}, "yes_bid_dollars"),
    ],
)
def test_value_that_can_neither_be_kept_nor_computed_with_is_refused(changes: dict[str, Any], why: str) -> None:
    found = read({}, changes)
    assert isinstance(found, RejectedRow)
    assert re.search(why, found.why), found.why
    assert found.key == "KXA-1"


def test_title_of_which_nothing_can_be_read_is_refused() -> None:
    found = read({"title": "\u202e\x00 \n"}, {})
    assert isinstance(found, RejectedRow)
    assert "title" in found.why
    assert "nothing that can be read" in found.why


def test_settlement_at_the_end_of_the_calendar_is_refused() -> None:
    found = read_settlement(settled("KXA-1") | {"settlement_ts": "0001-01-01T00:00:00+23:59"})
    assert isinstance(found, RejectedRow)
    assert "settlement_ts" in found.why
    assert isinstance(read_settlement(settled("KXA-1")), Settlement)
