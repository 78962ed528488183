"""Providers and a venue that misbehave during a headless run: recorded, nothing lost, and the run goes on.

The keys of that run are looked for afterwards in everything it left: providers repeat them in errors.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ensemble_pipeline.pipeline.worlds import key_variable
from ensemble_pipeline_tests.journeys.running import (
    Done,
    data_folder,
    peek,
    postgres_of,
    read_report,
    run,
)
from ensemble_pipeline_tests.replay.small_archive import FORECAST, PRICE, QUESTION, write_archive

FAULTS = (
    {"target": "openai", "kind": "html", "count": 5},
    {"target": "xai", "kind": "overloaded", "count": 4},
    {"target": "anthropic", "kind": "cut_json", "count": 3},
    {"target": "openrouter", "kind": "wrong_key", "count": 2},
    {"target": "local", "kind": "out_of_credit", "count": 1},
)
# two of a provider's own shape, two that nothing but their value tells to be keys
KEYS = {
    "openai": "sk-proj-planted0openai0Zq7Q",
    "xai": "planted0xai0Zq7Q0without0a0shape",
    "anthropic": "sk-ant-planted0anthropic0Zq7Q",
    "openrouter": "planted0openrouter0Zq7Q0without0a0shape",
}
ECHOES = tuple(
    {"target": provider, "kind": kind, "after": 8} for provider in KEYS for kind in ("key_echo", "wrong_key")
)
# so many that whole looks at the venue fail, with all their attempts; and one page that is none
VENUE_FAULTS = (
    {"target": "kalshi", "kind": "overloaded", "count": 12},
    {"target": "kalshi", "kind": "html"},
)
PROBLEMS = (
    "select m.provider, q.status, q.http_status, q.problem, q.cost_micro_usd, q.cost_source"
    " from llm_queries q join models m using (model_id) where q.status <> 'answered' order by query_id"
)


@dataclass(frozen=True)
class Faulted:
    """A world that was played to its end under faults, with keys of its own; its server is up."""

    folder: Path
    done: Done

    @property
    def report(self) -> dict[str, Any]:
        """Its report."""
        return read_report(self.folder / "report.json")


@pytest.fixture(scope="module")
def faulted() -> Iterator[Faulted]:
    world = ("--days", "2", "--markets-per-day", "3", "--members", "all")
    with data_folder() as folder:
        keys = {key_variable(provider): key for provider, key in KEYS.items()}
        done = _play(folder, (*FAULTS, *ECHOES), *world, variables=keys)
        with postgres_of(folder):
            yield Faulted(folder, done)


def _play(folder: Path, faults: Sequence[dict[str, Any]], *world: str, variables: dict[str, str] | None = None) -> Done:
    script = folder / "faults.json"
    script.write_text(json.dumps(faults))
    play = ("demo", "--until-done", "--report", str(folder / "report.json"), "--faults", str(script))
    done = run(folder, *play, *world, variables=variables)
    assert (done.status, done.err) == (0, ""), done.out
    return done


def test_run_goes_on_and_records_what_failed_where_providers_answer_html_and_errors(faulted: Faulted) -> None:
    report, failed = faulted.report, peek(faulted.folder, PROBLEMS)
    forecasts = report["forecasts"]
    assert report["markets"]["undecided"] == report["played"]["failed_runs"] == 0
    assert (report["markets"]["seen"], report["markets"]["settled"]) == (3, 3)
    assert forecasts["answered"] + forecasts["failed"] == forecasts["asked"]
    assert forecasts["scored"] == forecasts["answered"] > 0
    for fault in FAULTS:
        struck = [row for row in failed if row["provider"] == fault["target"]]
        assert len(struck) >= int(str(fault["count"])), fault
        assert all(row["problem"] for row in struck)
    by_provider = {provider: _first(failed, provider) for provider in ("openai", "xai", "anthropic", "openrouter")}
    # a reply that came and cannot be read may have been billed: its worst case is booked
    assert by_provider["openai"]["cost_source"] == by_provider["anthropic"]["cost_source"] == "worst_case"
    assert by_provider["openai"]["cost_micro_usd"] > 0
    assert (by_provider["xai"]["http_status"], by_provider["xai"]["cost_micro_usd"]) == (503, 0)
    assert (by_provider["openrouter"]["http_status"], by_provider["openrouter"]["cost_micro_usd"]) == (401, 0)


def test_keys_are_nowhere_in_what_a_run_leaves_though_providers_repeat_them(faulted: Faulted) -> None:
    rows = _every_row(faulted.folder)
    # each provider did repeat its key, and what was kept of it shows that something stood there
    for provider in KEYS:
        kept = [text for table, text in rows if table == "ensemble.llm_queries" and f"{provider} answered 400" in text]
        assert any("the credential [key] upstream" in text for text in kept), (provider, kept)
    assert {table.partition(".")[0] for table, _ in rows} == {"ensemble", "public"}
    assert any(table == "public.event_logs" and "ensemble_decisions" in text for table, text in rows)
    files = {path: path.read_bytes() for path in faulted.folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert any(path.suffix == ".log" for path in files)
    for key in KEYS.values():
        assert [table for table, text in rows if key in text] == []
        assert [path for path, content in files.items() if key.encode() in content] == []
        assert key not in faulted.done.out


def _every_row(folder: Path) -> list[tuple[str, str]]:
    """Every row of every table of the played database as text, with its table; what is binary, as its hex digits."""
    name = (folder / "current_database").read_text()
    with psycopg.connect(host=str(folder / "postgres"), user="postgres", dbname=name) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('ensemble', 'public')"
        ).fetchall()
        return [
            (f"{schema}.{table}", row[0])
            for schema, table in tables
            for row in connection.execute(
                sql.SQL("select t::text from {} t").format(sql.Identifier(schema, table))
            ).fetchall()
        ]


@pytest.mark.slow
def test_world_waits_for_a_venue_that_is_out_for_a_while_and_loses_no_forecast(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", [QUESTION], [FORECAST], [PRICE])
    with data_folder() as folder:
        _play(folder, VENUE_FAULTS, "--archive", str(archive))
        report = read_report(folder / "report.json")
    assert report["truth"]["forecasts"] == report["forecasts"]["asked"] == report["forecasts"]["scored"] == 1
    assert (report["markets"]["seen"], report["markets"]["settled"]) == (1, 1)


def _first(rows: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    return next(row for row in rows if row["provider"] == provider)
