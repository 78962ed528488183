"""Half an hour of `ensemble demo` at a high rate, with providers and a venue that fail at random: nothing grows.

`ENSEMBLE_SOAK_MINUTES` says how long, 30 without it; from 3 on there is something to compare. With ``pytest -s`` each
look is shown as it is taken and the summary at the end, as docs/operations.md holds one.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.pipeline.family import free_port
from ensemble_pipeline.sandbox.synthetic import DEFAULT_START
from ensemble_pipeline.store import audit
from ensemble_pipeline.store.database import Database, Row
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.journeys import soaking
from ensemble_pipeline_tests.journeys.living import end, is_up, looked_into
from ensemble_pipeline_tests.journeys.running import count, data_folder, started, wait_for
from ensemble_pipeline_tests.journeys.soaking import Growth, Looker, Sample

MINUTES = float(os.environ.get("ENSEMBLE_SOAK_MINUTES", "30"))
LOOK_EVERY_S = 15.0
# sensors go on looking at a world that stands still: some of so many looks find none of them at it
AT_REST_S = 30.0
# all prices move every 45 seconds, and most markets are due then; learning, watching and marking come in between
SPEED = 480.0
MARKETS_PER_DAY = 40
# towards its end a world opens no markets; that must lie beyond the soak, however long its start takes
DAYS = int((MINUTES + 15) * 60 * SPEED / 86_400) + 6
VARIABLES = {
    # money or an earlier look on the same day must not keep anybody from being asked
    **{f"ENSEMBLE_BUDGET__{name}_USD": "unlimited" for name in ("DAY_SOFT", "DAY_HARD", "MARKET_DAY")},
    "ENSEMBLE_GATES__ANALYSES_PER_DAY": "10",
    "ENSEMBLE_GATES__MIN_VOLUME": "0",
}
# share of calls that are struck, for ever
AT_RANDOM: tuple[dict[str, Any], ...] = (
    {"target": "xai", "kind": "rate_limited", "share": 0.03},
    {"target": "xai", "kind": "reset", "share": 0.02},
    {"target": "openai", "kind": "overloaded", "share": 0.03},
    {"target": "openai", "kind": "html", "share": 0.01},
    {"target": "anthropic", "kind": "stall", "share": 0.03, "stall_s": 2},
    {"target": "anthropic", "kind": "cut_json", "share": 0.02},
    {"target": "openrouter", "kind": "unavailable", "share": 0.03},
    {"target": "openrouter", "kind": "p_percent", "share": 0.02},
    {"target": "local", "kind": "server_error", "share": 0.03},
    {"target": "local", "kind": "hang", "share": 0.002},
    {"target": "kalshi", "kind": "rate_limited", "share": 0.02},
    {"target": "kalshi", "kind": "rows_skipped", "share": 0.05, "path": "/events"},
)
# an outage that opens breakers and ends
OUTAGE = {"target": "openai", "kind": "unavailable", "after": 150, "count": 60}
DRAINED_WITHIN_S = 240.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(MINUTES * 60 + 900)]


@dataclass(frozen=True)
class Soaked:
    """The looks at a soak; once all work has ended, more of them, what is off in the books, and the last counts."""

    samples: list[Sample]
    at_rest: list[Sample]
    ledger_off: list[Row]
    calls_off: list[Row]
    left: Row


@pytest.fixture(scope="module")
def soaked() -> Soaked:
    with data_folder() as folder:
        port = free_port()
        with started(folder, *_command(folder, port), variables=VARIABLES) as process:
            assert process.stdout is not None
            # nobody reads what it says before its end
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 1 << 20)
            wait_for("the UI answers", lambda: is_up(port), 120, process)
            wait_for("a decision is recorded", lambda: count(folder, "decisions"), 120, process)
            with looked_into(folder) as database:
                looker = Looker(process.pid, database, SPEED)
                samples = _look(process, looker, LOOK_EVERY_S, MINUTES * 60)
                _drain(folder, database, process)
                soak = _left(samples, _look(process, looker, 0.5, AT_REST_S), database)
            end(process, folder, port)
    _say(soaking.summary(samples, soak.at_rest))
    return soak


def _command(folder: Path, port: int) -> tuple[str, ...]:
    script = folder / "faults.json"
    for_ever = [{"count": None, "seed": number, **fault} for number, fault in enumerate(AT_RANDOM)]
    script.write_text(json.dumps([OUTAGE, *for_ever]))
    world = ("--days", str(DAYS), "--markets-per-day", str(MARKETS_PER_DAY), "--speed", str(SPEED))
    return ("demo", "--port", str(port), "--faults", str(script), *world)


def _look(process: "subprocess.Popen[str]", looker: Looker, every_s: float, for_s: float) -> list[Sample]:
    watch, pause = Stopwatch(), threading.Event()
    samples: list[Sample] = []
    while watch.elapsed_s() < for_s:
        assert process.poll() is None, f"ended with {process.returncode}: {process.communicate()}"
        samples.append(looker.look())
        _say(samples[-1].line())
        pause.wait(max(0.0, every_s * len(samples) - watch.elapsed_s()))
    return samples


def _drain(folder: Path, database: Database, process: "subprocess.Popen[str]") -> None:
    """Let everything under way end: no world time passes, and nobody fails any more."""
    (note,) = folder.glob("dagster/*/played_environment.json")
    sandbox = json.loads(note.read_text())["ENSEMBLE_KALSHI_BASE_URL"].removesuffix("/trade-api/v2")
    httpx.delete(f"{sandbox}/faults", trust_env=False).raise_for_status()
    StoredClock(database).freeze()
    wait_for("nothing waits and no run is under way", lambda: _is_drained(database), DRAINED_WITHIN_S, process)


def _is_drained(database: Database) -> bool:
    with database.connection() as connection:
        found = soaking.counts(connection)
    return not found["waiting"] and not found["runs_under_way"]


def _left(samples: list[Sample], at_rest: list[Sample], database: Database) -> Soaked:
    first = DEFAULT_START.date()
    with database.connection() as connection:
        return Soaked(
            samples,
            at_rest,
            ledger_off=audit.ledger_differences(connection, first),
            calls_off=audit.call_differences(connection, first),
            left=soaking.counts(connection),
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _grown(growths: list[Growth], share: float, amount: float) -> list[str]:
    return [growth.row() for growth in growths if not growth.is_within(share, amount)]


def test_memory_of_every_long_lived_process_is_flat(soaked: Soaked) -> None:
    assert _grown(soaking.memory(soaked.samples), 0.10, 20) == []


def test_no_connection_descriptor_or_process_is_leaked(soaked: Soaked) -> None:
    assert [it.row() for it in soaking.kept(soaked.samples, soaked.at_rest) if it.at_rest > it.before] == []


def test_no_lag_grows(soaked: Soaked) -> None:
    assert _grown(soaking.lags(soaked.samples), 0.5, 30) == []


def test_books_come_out_even_and_nothing_is_left_behind(soaked: Soaked) -> None:
    assert (soaked.ledger_off, soaked.calls_off) == ([], [])
    assert (soaked.left["held"], soaked.left["waiting"]) == (0, 0)


def test_decisions_went_on_at_a_high_rate_though_calls_failed(soaked: Soaked) -> None:
    first, last = soaked.samples[0], soaked.samples[-1]
    assert last.decisions - first.decisions >= 60 * MINUTES
    assert last.unanswered - first.unanswered >= 0.02 * (last.calls - first.calls) > 0
    assert last.failed_runs == 0
