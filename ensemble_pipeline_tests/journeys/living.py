"""`ensemble demo` with its UI as a test runs it: whether it is up, standing still, and its end.

Belongs here: what journeys with the webserver, daemon and code server share. Does not: commands that end by themselves
(``running``).
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ensemble_pipeline.pipeline.family import require_free
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.journeys.running import Done, family_of, is_running, postgres_pid, wait_for


def is_up(port: int) -> bool:
    """Whether the UI answers."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def looked_into(folder: Path) -> Iterator[Database]:
    """The database of the instance that is running there, through one connection."""
    name = (folder / "current_database").read_text()
    database = Database(f"postgresql://postgres@/{name}?host={folder / 'postgres'}", max_size=1)
    try:
        yield database
    finally:
        database.close()


def freeze(folder: Path) -> None:
    """Have the world stand still, while everything that is under way goes on."""
    with looked_into(folder) as database:
        StoredClock(database).freeze()


def end(process: "subprocess.Popen[str]", folder: Path, port: int) -> None:
    """End it as Ctrl-C does, and see that nothing of it is left."""
    family = family_of(process.pid)
    assert len([command for command in family.values() if "dagster" in command or "sandbox" in command]) >= 4
    server = postgres_pid(folder)
    assert server is not None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err)
    assert (done.status, done.err) == (0, "")
    assert "PostgreSQL last" in done.out
    wait_for("its family has ended", lambda: not [pid for pid in family if is_running(pid)], 15)
    wait_for("PostgreSQL has ended", lambda: not is_running(server), 15)
    assert postgres_pid(folder) is None
    require_free(port, "--port")
