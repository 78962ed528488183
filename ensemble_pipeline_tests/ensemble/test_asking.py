from datetime import timedelta
from typing import Any

import pytest

from ensemble_pipeline.domain import Evidence
from ensemble_pipeline.ensemble.asking import Questions, read_questions
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.evidence import save_evidence
from ensemble_pipeline_tests.ensemble.parts import member_of, snapshot_of
from ensemble_pipeline_tests.store.rows import HOUR, NOW, market_of, quote_of, save_snapshot

PIECE = Evidence(NOW - HOUR, "Wire", "It rains.")
SNAPSHOT = snapshot_of()
MARKET = SNAPSHOT.market


def questions(evidence: dict[str, list[Evidence]] | None = None, **options: Any) -> Questions:
    return Questions(EnsembleSettings(**options), evidence or {})


@pytest.mark.parametrize("role", ["forecaster", "inside_view"])
def test_prompt_is_that_of_the_members_role(role: str) -> None:
    asked = questions().prompt(member_of("a", role=role), SNAPSHOT, NOW)
    assert asked == build_prompt(role, MARKET, NOW)


def test_evidence_goes_to_its_own_market_only() -> None:
    asking = questions({MARKET.market_id: [PIECE]})
    assert asking.prompt(member_of("a"), SNAPSHOT, NOW) == build_prompt("forecaster", MARKET, NOW, [PIECE])
    other = snapshot_of(ticker="SNOW-1")
    assert asking.prompt(member_of("a"), other, NOW) == build_prompt("forecaster", other.market, NOW)


def test_price_is_the_mid_of_the_snapshot_and_shown_only_where_the_setting_says_so() -> None:
    shown = questions(show_market_price=True).prompt(member_of("a"), SNAPSHOT, NOW)
    assert '"market_price": 0.41}' in shown.user
    assert "0.41" not in questions().prompt(member_of("a"), SNAPSHOT, NOW).user
    unpriced = snapshot_of(quote_of(None, None))
    assert questions(show_market_price=True).prompt(member_of("a"), unpriced, NOW) == build_prompt(
        "forecaster", MARKET, NOW
    )


def test_evidence_from_after_the_question_is_refused() -> None:
    with pytest.raises(InputError, match="after the question"):
        questions({MARKET.market_id: [PIECE]}).prompt(member_of("a"), SNAPSHOT, NOW - 2 * HOUR)


def test_questions_read_what_was_known_then_and_no_later(database: Database) -> None:
    late = Evidence(NOW - 5 * HOUR, "Gazette", "Published before, known after.")
    with database.connection() as connection:
        save_snapshot(connection, market_of(), quote_of())
        save_evidence(connection, MARKET.market_id, [PIECE], NOW)
        save_evidence(connection, MARKET.market_id, [late], NOW + timedelta(microseconds=1))
        before, then, later = (
            read_questions(connection, EnsembleSettings(), [SNAPSHOT], NOW + delta).prompt(
                member_of("a"), SNAPSHOT, NOW + delta
            )
            for delta in (-timedelta(microseconds=1), timedelta(0), HOUR)
        )
    assert before.user == build_prompt("forecaster", MARKET, NOW).user
    assert then.user == build_prompt("forecaster", MARKET, NOW, [PIECE]).user
    assert later.user == build_prompt("forecaster", MARKET, NOW + HOUR, [PIECE, late]).user
