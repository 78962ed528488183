"""One contender in a process of its own: ``python -m benchmarks._windows.contender NAME N_ROWS AFTER RESULT``.

Belongs here: what a contender is, and both ends of the pipe to its process, so that its peak memory is its own. Does
not: the contenders (ours.py, duckdb_join.py, polars_join.py), what they are measured for (windows.py).

All are asked the same: for each of 720 as-of hours, five lengths, 12 models and 8 categories and the sum over the
categories, five integer sums, where there is a forecast at all. In what order is left to them, and so is the type of
the two indices. They may use every core.
"""

import importlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CONTENDERS = {
    "ours": "benchmarks._windows.ours:Ours",
    "duckdb": "benchmarks._windows.duckdb_join:HashJoin",
    "polars join": "benchmarks._windows.polars_join:Join",
    "polars shift": "benchmarks._windows.polars_join:Shift",
}


class Contender(Protocol):
    """Loads the ledger into what it holds tables in when it is made; rows up to the hour `after` need not be read."""

    def __init__(self, n_rows: int, after: int) -> None: ...

    def compute(self) -> None:
        """What is timed. The result is kept until the next one replaces it."""

    def columns(self) -> list[NDArray[np.generic]]:
        """As-of hour, length, model, category (-1: all) and `STATISTICS` of the result."""


class Process:
    """A contender at the other end of a pipe; it computes when asked, and leaves its table in `result` at the end."""

    def __init__(self, name: str, n_rows: int, after: int, result: Path) -> None:
        command = [sys.executable, "-m", "benchmarks._windows.contender", name, str(n_rows), str(after), str(result)]
        self.name, self.result, self.seconds, self.peak_mb = name, result, float("inf"), 0.0
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        _, self.loaded_mb = self._heard()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()
        if kind is None and self._process.returncode:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}")

    def compute(self) -> None:
        """Once more; the shortest time counts, and the peak of the first time."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, peak_mb = self._heard()
        self.seconds, self.peak_mb = min(self.seconds, seconds), self.peak_mb or peak_mb

    def _heard(self) -> tuple[float, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} broke off")
        seconds, peak_mb = json.loads(line)
        return seconds, peak_mb


def main(name: str, n_rows: str, after: str, result: str) -> None:
    """Load; compute once for each line of stdin and say seconds and peak memory; at its end leave the table."""
    module, _, kind = CONTENDERS[name].partition(":")
    contender: Contender = getattr(importlib.import_module(module), kind)(int(n_rows), int(after))
    _say(0.0)
    for _ in sys.stdin:
        started = time.perf_counter()
        contender.compute()
        _say(time.perf_counter() - started)
    table = np.stack([column.astype(np.int64) for column in contender.columns()])
    np.save(Path(result), table[:, np.lexsort(table[3::-1])])


def _say(seconds: float) -> None:
    print(json.dumps([seconds, _peak_mb()]), flush=True)


def _peak_mb() -> float:
    """The most memory that was resident in this process."""
    status = Path("/proc/self/status")
    if status.exists():  # where `ru_maxrss` starts from the peak of the process that started this one
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(*sys.argv[1:])
