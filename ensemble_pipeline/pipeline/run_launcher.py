"""Dagster's own run launcher, with an answer to whether the process of a run still lives.

A code server notices within half a second that a run's process ended. But where the database is away for longer than
Dagster tries again (some seconds), that watch ends with an error, and a run that died meanwhile would keep its turn for
ever: the daemon's run monitoring asks here, finds it, and has it retried.
"""

import json
import os
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

_CODE_SERVER_TAG = ".dagster/grpc_info"
_THIS_MACHINE = ("127.0.0.1", "localhost")


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Launches runs in processes of the code server, and looks after those on this machine."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run monitoring is to ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Failed where the run's process is gone; running where it lives, or nobody here can tell."""
        pid = self._pid_of(run)
        if pid is None or is_alive(pid):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"process {pid} of the run is gone")

    def _pid_of(self, run: dg.DagsterRun) -> int | None:
        """The process that said it had started for the run, where that was on this machine."""
        server = json.loads(run.tags.get(_CODE_SERVER_TAG, "{}"))
        if server.get("host") not in _THIS_MACHINE and "socket" not in server:
            return None
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            if event is not None and "pid" in event.engine_event_data.metadata:
                return int(str(event.engine_event_data.metadata["pid"].value))
        return None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine exists and is more than a zombie that nobody has buried."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        # no such file system, or gone between the two looks
        return not Path("/proc/self").exists()
