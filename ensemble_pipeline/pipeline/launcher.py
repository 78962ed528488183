"""Dagster's code server, daemon and webserver side by side, over one database, as one family."""

import http.client
import os
import sys
import threading
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.errors import EnsembleError
from ensemble_pipeline.pipeline.family import Family, free_port
from ensemble_pipeline.pipeline.worlds import Home, WorldSpec
from ensemble_pipeline.store.database import Database, require_row

HEADLESS_CONFIG = "headless.yaml"
# capturing each step's output starts four processes a step; in one process there is a terminal to print to
_NO_COMPUTE_LOGS = """
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
_UI_TIMEOUT_S = 90.0
_SANDBOX_TIMEOUT_S = 30.0


def prepare_dagster_home(home: Home) -> None:
    """Write Dagster's configuration and, the first time, its tables, so that no two processes create them at once."""
    home.folder.mkdir(parents=True, exist_ok=True)
    base = (files("ensemble_pipeline.pipeline") / "dagster.yaml").read_text()
    for name, text in (("dagster.yaml", base), (HEADLESS_CONFIG, base + _NO_COMPUTE_LOGS)):
        file = home.folder / name
        # a daemon may be reading it
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    database = Database(home.database_url)
    with database.connection() as connection:
        row = connection.execute("select to_regclass('public.event_logs') is not null as is_there").fetchone()
    database.close()
    if row is None or not row["is_there"]:
        import dagster as dg

        with dg.DagsterInstance.from_config(str(home.folder)):
            pass


def start_sandbox(family: Family, spec: WorldSpec, environment: Mapping[str, str], faults: Path | None = None) -> str:
    """Start the sandbox on a free port and wait until it answers; returns its base URL.

    `faults` names a file with those that strike from its first call on.
    """
    port = free_port()
    command = [sys.executable, "-m", "ensemble_pipeline.cli", "sandbox", "--port", str(port), *spec.arguments()]
    if faults is not None:
        command += ["--faults", str(faults.resolve())]
    family.start("sandbox", command, environment)
    _wait_until_up(family, port, "/", _SANDBOX_TIMEOUT_S)
    return f"http://127.0.0.1:{port}"


def start_dagster(family: Family, home: Home, environment: Mapping[str, str], ui_port: int) -> None:
    """Start code server, daemon and webserver side by side; returns at once."""
    workspace = start_runner(family, home, environment)
    web = ["dagster_webserver", "-h", "127.0.0.1", "-p", str(ui_port), "-w", str(workspace)]
    family.start("webserver", _python(*web), environment)


def start_runner(family: Family, home: Home, environment: Mapping[str, str]) -> Path:
    """Start code server and daemon, which request, run and retry; returns at once, with the workspace they serve."""
    _bury_dead_runs(home)
    # a fixed path could be held by a server that a crash left behind
    code_port = free_port()
    workspace = home.folder / "workspace.yaml"
    workspace.write_text(
        "load_from:\n  - grpc_server:\n      host: 127.0.0.1\n"
        f"      port: {code_port}\n      location_name: ensemble_pipeline\n"
    )
    module = "ensemble_pipeline.definitions"
    code = ["dagster", "api", "grpc", "-m", module, "-h", "127.0.0.1", "-p", str(code_port)]
    family.start("code-server", _python(*code), environment)
    family.start("daemon", _python("dagster._daemon", "run", "-w", str(workspace)), environment)
    return workspace


def _bury_dead_runs(home: Home) -> None:
    # Dagster would take half a second to import here; a look at its table says whether there is anything to do
    database = Database(home.database_url)
    with database.connection() as connection:
        row = connection.execute(
            "select count(*) as n from public.runs where status in ('NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"
        ).fetchone()
    database.close()
    if require_row(row)["n"]:
        import dagster as dg

        from ensemble_pipeline.pipeline.jobs import bury_dead_runs

        with dg.DagsterInstance.from_config(str(home.folder)) as instance:
            bury_dead_runs(instance)


def wait_for_ui(family: Family, ui_port: int, stop: threading.Event) -> None:
    """Wait until the UI answers, or until told to stop."""
    _wait_until_up(family, ui_port, "/server_info", _UI_TIMEOUT_S, stop)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _wait_until_up(family: Family, port: int, path: str, timeout_s: float, stop: threading.Event | None = None) -> None:
    watch, pause = Stopwatch(), stop or threading.Event()
    while not pause.is_set():
        family.require_alive()
        if _answers(port, path):
            return
        if watch.elapsed_s() > timeout_s:
            logs = ", ".join(str(child.log) for child in family.children)
            raise EnsembleError(f"nothing answers on 127.0.0.1:{port} after {timeout_s:.0f} s; see {logs}")
        pause.wait(0.1)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def log_dir(home: Home) -> Path:
    """Where the family's output goes."""
    # not "logs": Dagster keeps a folder of that name for itself and moves it away
    return home.folder / "output"


def inherited() -> dict[str, str]:
    """This process's environment, for a child; bytecode is kept so that the next start is quick."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
