"""Two runs given the same markets: one decides, the other says so, and nobody is asked by both."""

import asyncio
from collections import Counter
from datetime import datetime

import pytest

from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.consult import Consultation
from ensemble_pipeline.sandbox.asking import Completion, Desk, Question, Refusal, find_ticker
from ensemble_pipeline.store import markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.rush import Run, decide_together
from ensemble_pipeline_tests.ensemble.venue import KEYS, Play, playing

ALL = {"member_policy": "all"}


def count_asked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str | None]]:
    asked: Counter[tuple[str, str | None]] = Counter()
    answer = Desk.ask

    def ask(desk: Desk, provider: str, question: Question, at: datetime) -> Completion | Refusal:
        asked[question.model, find_ticker(question.prompt)] += 1
        return answer(desk, provider, question, at)

    monkeypatch.setattr(Desk, "ask", ask)
    return asked


def two_batches(play: Play) -> tuple[int, int]:
    """The batch of the scan, and a second one of the same snapshots."""
    play.scan()
    with play.instance.database.connection() as connection:
        ((batch, snapshots),) = markets.undecided_batches(connection).items()
        return batch, markets.open_batch(connection, snapshots, play.clock.now())


def test_of_two_processes_at_once_one_decides_each_market_and_nobody_is_asked_by_both(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickers = [f"M{number}-1" for number in range(6)]
    asked = count_asked(monkeypatch)
    with playing(database, monkeypatch, *tickers, ensemble=ALL) as play:
        settings = play.instance.settings.model_dump_json(exclude={"database_url"})
        runs = [
            Run(database.url, settings, batch, play.clock.now(), KEYS, run_id=f"run of {batch}")
            for batch in two_batches(play)
        ]
        assert decide_together(runs) == [0, 0]
        assert len(asked) == 5 * len(tickers)
        assert set(asked.values()) == {1}
        decided = play.rows("select market_id from decisions order by 1")
        assert [row["market_id"] for row in decided] == [f"kalshi:{ticker}" for ticker in tickers]


def test_snapshot_that_another_run_decided_after_it_was_planned_is_not_put_to_anybody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_asked(monkeypatch)
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=ALL) as play:
        first, second = two_batches(play)
        context, plans = play.plan(second)
        # decided by somebody who asked nobody, as where the money had run out
        play.change(ensemble={}, gates={"min_volume": "1000000"})
        recorded = play.decide(first)
        assert recorded.already_decided == {}
        play.change(ensemble=ALL, gates={})
        consultation = asyncio.run(decide.consult(play.instance, context, plans))
        assert consultation == Consultation(0, 0, 0, 0, 0, 0, already_decided=(1, 2))
        assert consultation.still_open(plans) == []
        assert sum(asked.values()) == 0
        late = decide.record(play.instance, context, [])
        assert late.decision_ids == ()
        assert late.already_decided == dict(zip((1, 2), recorded.decision_ids, strict=True))
