"""The `ensemble` command in processes of its own, on a data folder of the test's own, and looks at what it left."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.store.embedded import EmbeddedServer, start_embedded

ENSEMBLE = (sys.executable, "-m", "ensemble_pipeline.cli")
REPOSITORY = Path(__file__).resolve().parents[2]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str


@contextmanager
def data_folder() -> Iterator[Path]:
    """A new data folder; whatever PostgreSQL a killed command left running there is stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-journey-", dir="/tmp"))
    # as root, PostgreSQL runs as a user of its own, which must get through
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        _stop_postgres(folder)
        shutil.rmtree(folder, ignore_errors=True)


def postgres_pid(folder: Path) -> int | None:
    """The running embedded server of a data folder."""
    with contextlib.suppress(FileNotFoundError):
        pid = int((folder / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        return pid if is_running(pid) else None
    return None


def _stop_postgres(folder: Path) -> None:
    pid = postgres_pid(folder)
    if pid is not None:
        os.kill(pid, signal.SIGINT)
        wait_for("PostgreSQL has ended", lambda: not is_running(pid), 20)


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        return _stat(pid)[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _stat(pid: int) -> tuple[str, int, int]:
    """State, parent and session of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[3])


def family_of(pid: int) -> dict[int, str]:
    """The living descendants of a process, with their command lines."""
    parents = _parents()
    found: dict[int, str] = {}
    wanted = [pid]
    while wanted:
        parent = wanted.pop()
        children = [child for child, its_parent in parents.items() if its_parent == parent]
        found.update({child: _command_line(child) for child in children})
        wanted.extend(children)
    return found


def children_of(pid: int) -> dict[int, str]:
    """The living children of a process, with their command lines."""
    return {child: _command_line(child) for child, parent in _parents().items() if parent == pid}


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parents[int(entry.name)] = _stat(int(entry.name))[1]
    return parents


def _command_line(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def environment(folder: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without its own settings, for a command that keeps its data in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ENSEMBLE_", "DAGSTER_"))}
    return {**inherited, "ENSEMBLE_DATA_DIR": str(folder), **(variables or {})}


def run(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None, timeout_s: float = 240) -> Done:
    """Run one command to its end."""
    with started(folder, *arguments, variables=variables) as process:
        out, err = process.communicate(timeout=timeout_s)
        return Done(process.returncode, out, err)


@contextmanager
def started(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A command in a session of its own, ended with everything it started when the block ends."""
    process = subprocess.Popen(
        [*ENSEMBLE, *arguments],
        env=environment(folder, variables),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        restore_signals=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            left = family_of(process.pid)
            process.kill()
            process.communicate()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def play(folder: Path, *arguments: str, timeout_s: float = 240) -> dict[str, Any]:
    """Play a world headless to its end and return its report."""
    report = folder / "report.json"
    done = run(folder, "demo", "--until-done", "--report", str(report), *arguments, timeout_s=timeout_s)
    assert (done.status, done.err) == (0, "")
    return read_report(report)


def read_report(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def wait_for(what: str, look: Callable[[], _T], timeout_s: float, process: "subprocess.Popen[str] | None" = None) -> _T:
    """Look again, ever less often, until there is something; fails after `timeout_s`, or when `process` ended."""
    watch, pause = Stopwatch(), threading.Event()
    while True:
        seen = look()
        if seen:
            return seen
        assert process is None or process.poll() is None, f"ended with {process.returncode} before: {what}"
        assert watch.elapsed_s() < timeout_s, f"not within {timeout_s} s: {what}"
        # each look costs a connection, which those who are looked at could use
        pause.wait(min(0.02 + watch.elapsed_s() / 50, 0.25))


def peek(folder: Path, statement: str) -> list[dict[str, Any]]:
    """Rows of the database a running command works on; none where there is no such database or table yet."""
    with contextlib.suppress(FileNotFoundError, psycopg.OperationalError, psycopg.errors.UndefinedTable):
        name = (folder / "current_database").read_text()
        with psycopg.connect(
            host=str(folder / "postgres"),
            user="postgres",
            dbname=name,
            options="-c search_path=ensemble -c timezone=UTC",
            row_factory=dict_row,
        ) as connection:
            return connection.execute(statement.encode()).fetchall()
    return []


def count(folder: Path, what: str) -> int:
    """Peek at a count; 0 where there is nothing to count yet."""
    rows = peek(folder, f"select count(*) as n from {what}")
    return int(rows[0]["n"]) if rows else 0


@contextmanager
def postgres_of(folder: Path) -> Iterator[EmbeddedServer]:
    """Keep the embedded server of a data folder up, so that `peek` can look at what a command left."""
    server = start_embedded(folder)
    server.hold()
    try:
        yield server
    finally:
        server.release()


def without_passing(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what may differ between two runs of one world: elapsed time, row ids, crash leftovers."""
    spend = {name: value for name, value in report["spend"].items() if not name.startswith("unconfirmed")}
    ranking = {name: value for name, value in report["ranking"].items() if name != "ranking_id"}
    return {**{k: v for k, v in report.items() if k != "played"}, "spend": spend, "ranking": ranking}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two reports differ. Floats agree to 1e-9: the database sums them in the order its rows happen to lie in."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [found for i in range(len(one)) for found in differences(one[i], other[i], f"{path}/{i}")]
    if isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12):
        return []
    return [] if one == other else [f"{path}: {one} != {other}"]


def assert_one_message(done: Done, *words: str) -> None:
    """A refusal is one message on stderr that names what and what to do, without a traceback."""
    assert done.status not in (0, None), done.out
    assert "Traceback" not in done.err + done.out, done.err
    assert done.err.count("ensemble: ") + done.err.count("Error: ") == 1, done.err
    for word in words:
        assert re.search(word, done.err), (word, done.err)
