"""From the command to a UI that answers: `ensemble demo`, started for the second time, against `dagster dev`.

The alternative is `dagster dev` on an empty project. Ours starts PostgreSQL and the sandbox besides.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 3
DEADLINE_S = 180.0


def run() -> str:
    """Alternate both; the shortest start of each counts."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-startup-", dir="/tmp"))
    try:
        (folder / "empty").mkdir()
        (folder / "empty" / "empty.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
        _time_demo(folder)  # the first start creates database and tables
        times = [(_time_demo(folder), _time_dagster_dev(folder)) for _ in range(REPEATS)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ours, dev = (min(column) for column in zip(*times, strict=True))
    return (
        f"startup: `ensemble demo` {ours:.1f} s, `dagster dev` on an empty project {dev:.1f} s, ratio {ours / dev:.2f}"
    )


def _time_demo(folder: Path) -> float:
    port = _free_port()
    environment = {**os.environ, "ENSEMBLE_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "ensemble_pipeline.cli", "demo", "--port", str(port), "--days", "2"]
    return _time_until_up(command, environment, port, folder)


def _time_dagster_dev(folder: Path) -> float:
    port = _free_port()
    home = folder / "dagster-home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "dagster", "dev", "-f", "empty.py", "-h", "127.0.0.1", "-p", str(port)]
    return _time_until_up(command, environment, port, folder / "empty")


def _time_until_up(command: list[str], environment: dict[str, str], port: int, folder: Path) -> float:
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - started > DEADLINE_S:
                raise RuntimeError(f"{' '.join(command)} brought no UI up")
            time.sleep(0.05)
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
