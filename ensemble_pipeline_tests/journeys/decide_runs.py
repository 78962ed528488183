"""Decision runs of a real Dagster as its storage has them: their processes, the steps they are in, their retries."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_RUNS = r"""
select r.run_id, r.status,
    (select jsonb_object_agg(t.key, t.value) from public.run_tags t where t.run_id = r.run_id) as tags,
    (select substring(e.event from 'Started process for run \(pid: (\d+)\)')::integer from public.event_logs e
        where e.run_id = r.run_id and e.dagster_event_type = 'ENGINE_EVENT'
        and e.event like '%Started process for run%' limit 1) as pid,
    (select e.step_key from public.event_logs e where e.run_id = r.run_id and e.dagster_event_type = 'STEP_START'
        order by e.id desc limit 1) as step
from public.runs r where r.pipeline_name = 'decide' order by r.id
"""


@dataclass(frozen=True)
class DecideRun:
    """A run; `pid` and `step` (``starting`` before the first) as far as they are known yet."""

    run_id: str
    status: str
    tags: dict[str, str]
    pid: int | None
    step: str

    @property
    def batch_id(self) -> int:
        """The batch it decides."""
        return int(self.tags["ensemble/batch"])

    @property
    def retry_number(self) -> int:
        """How many runs of its group went before it."""
        return int(self.tags.get("dagster/retry_number", "0"))

    @property
    def retried_as(self) -> str | None:
        """The run by which Dagster retried it."""
        return self.tags.get("dagster/auto_retry_run_id")

    @property
    def is_under_way(self) -> bool:
        """Whether it has a process and has not ended."""
        return self.pid is not None and self.status in ("STARTING", "STARTED")

    def kill(self) -> None:
        """Kill its process."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)


def decide_runs(look: Callable[[str], list[dict[str, Any]]]) -> list[DecideRun]:
    """All decision runs, in the order in which they were requested; `look` reads rows of the database."""
    return [
        DecideRun(
            row["run_id"],
            row["status"],
            row["tags"] or {},
            row["pid"],
            (row["step"] or "starting").removeprefix("ensemble_decisions."),
        )
        for row in look(_RUNS)
    ]
