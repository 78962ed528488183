"""The same kills against our runs and against runs that keep no record of what they asked: who pays twice, how often.

Each world has the same markets, the same five models of the sandbox over HTTP on loopback, and the same dice for when
runs are killed. Paid twice is what the sandbox says it billed for a model's answer about a market after the first time.
"""

import pytest

from benchmarks._kills import naive
from ensemble_pipeline.store.migrate import migrate
from ensemble_pipeline_tests.conftest import opened
from ensemble_pipeline_tests.ensemble.drill import Drill, Toll, billed_by_sandbox, drilled_world
from ensemble_pipeline_tests.ensemble.rush import start_with
from ensemble_pipeline_tests.store.own_server import OwnServer, own_server

KILLS, BATCHES, SEED = 60, 40, 7


def run() -> str:
    """Kill our runs, then the naive ones."""
    with own_server() as server:
        ours = _drill(server, "ours")
        theirs = _drill(server, "naive")
    ratio = theirs.paid_twice / max(1, ours.paid_twice)
    return (
        f"kills: ours, {ours}\n"
        f"kills: {ours.paid_twice} answers paid twice after {ours.kills.total()} kills, {theirs.paid_twice} after "
        f"{theirs.kills.total()} of runs that keep no record of what they asked, ratio {ratio:.0f}"
    )


def _drill(server: OwnServer, kind: str) -> Toll:
    with (
        opened(server.embedded.ensure_database(kind)) as database,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        migrate(database)
        with drilled_world(database, monkeypatch, BATCHES) as play:
            if kind == "ours":
                return Drill(play, SEED).run(KILLS)
            with database.connection() as connection:
                connection.execute(naive.TABLE)
            drill = Drill(play, SEED, lambda run: start_with(naive.decide, run))
            kills = drill.kill(KILLS)
            billed = billed_by_sandbox(play)
            return Toll(kills=kills, paid_twice=sum(n - 1 for n in billed.values()))
