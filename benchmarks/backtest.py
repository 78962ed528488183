"""A backtest of 15,264 forecasts against loading the same files with pandas, and its memory at four times the rows.

Twice: as commands, each in a fresh interpreter, imports and reports included, as a user starts them; and without the
imports, in one interpreter. The archive is invented here: 12 models asked daily about 53 markets, 7% of calls failed.
"""

import csv
import gzip
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.backtest.rows import played
from ensemble_pipeline.replay.backtest.scores import report
from ensemble_pipeline.replay.backtest.walk import walk
from ensemble_pipeline.settings import Settings

MODELS, MARKETS, DAYS = 12, 53, 24
REPEATS = 5
_START = datetime(2025, 7, 29, tzinfo=UTC)
_LOAD = """
import sys, pandas as pd
folder = sys.argv[1]
for name, times in (("questions", ["opened_at", "closes_at", "resolved_at"]), ("forecasts", ["asked_at"]),
                    ("prices", ["observed_at"])):
    pd.read_csv(f"{folder}/{name}.csv.gz", parse_dates=times)
"""


def run() -> str:
    """Alternate both, and compare the fastest."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        _write_archive(small, MARKETS)
        _write_archive(large, 4 * MARKETS)
        return "\n".join((_commands(small), _inside(small), _memory(small, large)))


def _commands(archive: Path) -> str:
    ours = [sys.executable, "-m", "ensemble_pipeline.cli", "backtest", "--archive", str(archive)]
    ours += ["--report", str(archive / "report.json")]
    theirs = [sys.executable, "-c", _LOAD, str(archive)]
    mine, pandas = _alternate(lambda: _call(ours), lambda: _call(theirs))
    return (
        f"backtest, as commands: {MODELS * MARKETS * DAYS} forecasts {mine:.2f} s, loading them with pandas "
        f"{pandas:.2f} s, ratio {mine / pandas:.1f} (at most 30 is wanted)"
    )


def _inside(archive: Path) -> str:
    import pandas as pd

    settings = Settings()

    def load() -> None:
        for name, times in (
            ("questions", ["opened_at", "closes_at", "resolved_at"]),
            ("forecasts", ["asked_at"]),
            ("prices", ["observed_at"]),
        ):
            pd.read_csv(archive / f"{name}.csv.gz", parse_dates=times)

    def test() -> None:
        report(walk(played(read_archive(archive)), settings), settings.ensemble)

    mine, pandas = _alternate(test, load)
    return (
        f"backtest, without imports: five strategies {mine:.2f} s, loading with pandas {pandas:.4f} s, "
        f"ratio {mine / pandas:.0f}"
    )


def _memory(small: Path, large: Path) -> str:
    code = (
        "import sys, tracemalloc; from pathlib import Path; from ensemble_pipeline.replay.archive import read_archive;"
        "from ensemble_pipeline.replay.backtest.rows import played; from ensemble_pipeline.replay.backtest.walk import"
        " walk; from ensemble_pipeline.settings import Settings; tracemalloc.start();"
        "walk(played(read_archive(Path(sys.argv[1]))), Settings()); print(tracemalloc.get_traced_memory()[1])"
    )
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, str(it)], check=True, capture_output=True, text=True).stdout)
        for it in (small, large)
    ]
    return (
        f"backtest, memory: {peaks[0] / 1e6:.0f} MB allocated at most, at four times the rows {peaks[1] / 1e6:.0f} MB, "
        f"ratio {peaks[1] / peaks[0]:.2f} (4 is linear)"
    )


def _alternate(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for work, seconds in zip((first, second), spent, strict=True):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return statistics.median(spent[0]), statistics.median(spent[1])


def _call(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _write_archive(folder: Path, markets: int) -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.05, 0.95, markets)
    outcome = rng.uniform(size=markets) < truth
    folder.mkdir()
    questions = [
        (
            f"q{i}", f"e{i // 2}", f"Will event {i} happen?", f"category {i % 4}", "bench", _at(i % 13),
            _at(i % 13 + DAYS), _at(i % 13 + DAYS + 1 + i % 8), int(outcome[i]),
        )
        for i in range(markets)
    ]  # fmt: skip
    forecasts, prices = [], []
    for i in range(markets):
        for day in range(DAYS):
            at = _at(i % 13 + day)
            price = float(np.clip(truth[i] + rng.normal(0, 0.05), 0.02, 0.98))
            prices.append((f"q{i}", at, round(price, 3), round(price - 0.01, 3), round(price + 0.01, 3), 50_000))
            for model in range(MODELS):
                said = np.clip(truth[i] + rng.normal(0, 0.05 + 0.02 * model), 0, 1)
                p = "" if rng.uniform() < 0.07 else round(float(said), 3)
                forecasts.append((f"q{i}", f"model-{model}", at, p, "0.001", 900, 400, 200))
    header = "question_id event_id question category source opened_at closes_at resolved_at outcome"
    _write(folder / "questions.csv.gz", header, questions)
    header = "question_id model asked_at probability cost_usd latency_ms input_tokens output_tokens"
    _write(folder / "forecasts.csv.gz", header, forecasts)
    _write(folder / "prices.csv.gz", "question_id observed_at probability bid ask volume", prices)


def _at(day: int) -> str:
    return (_START + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(path: Path, header: str, rows: Sequence[tuple[object, ...]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split())
        writer.writerows(rows)
