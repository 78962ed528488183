"""`ensemble demo` and `ensemble up`: everything an instance needs, started, shown and ended in order."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.monitor import EnsembleMonitor
from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.pipeline import launcher
from ensemble_pipeline.pipeline.family import Family, require_free
from ensemble_pipeline.pipeline.pending import is_quiet
from ensemble_pipeline.pipeline.worlds import (
    Home,
    WorldSpec,
    history_of,
    home_key,
    open_home,
    played,
    sandbox_keys,
    world_environment,
)
from ensemble_pipeline.sandbox.control import read_script
from ensemble_pipeline.sandbox.world import World
from ensemble_pipeline.settings import Settings, load_settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import HEARTBEAT_S, StoredClock
from ensemble_pipeline.store.worlds import LIVE

if TYPE_CHECKING:
    import dagster as dg

Say = Callable[[str], None]

_LINE_EVERY_S = 10.0
# runs fail meanwhile, and are retried; who restarts a server has it back by then
_MOST_AWAY_S = 120.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `ensemble demo` was asked for."""

    spec: WorldSpec
    member_policy: str
    until_done: bool
    report: Path | None
    ui_port: int
    speed: float
    fresh: bool
    faults: Path | None = None


@contextmanager
def _family(home: Home) -> Iterator[Family]:
    family = Family(launcher.log_dir(home))
    try:
        yield family
    finally:
        family.stop()


@contextmanager
def _instance(settings: Settings, database_url: str) -> Iterator[tuple[Instance, StoredClock]]:
    database = Database(database_url)
    clock = StoredClock(database)
    try:
        yield Instance(settings, database, clock), clock
    finally:
        database.close()


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def run_demo(options: DemoOptions, load_definitions: "Callable[[], dg.Definitions]", say: Say) -> dict[str, Any] | None:
    """Play a world: to its end without a UI (returns the report), or with the UI until told to stop.

    `load_definitions` is called once this process has become one of the instance's, since they depend on its dates.
    """
    world = options.spec.open()
    if options.faults is not None:
        # refused before anything starts
        read_script(options.faults)
    if not options.until_done:
        require_free(options.ui_port, "--port")
    stop = None if options.until_done else _stop_event()
    if stop is None:
        # unwinds like Ctrl-C does: sandbox and PostgreSQL end with this process
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        key = home_key(world, options.member_policy)
        home = stack.enter_context(open_home(key, world.kind, history_of(world), fresh=options.fresh))
        os.environ.update(home.environment())
        launcher.prepare_dagster_home(home)
        family = stack.enter_context(_family(home))
        sandbox_url = launcher.start_sandbox(family, options.spec, launcher.inherited(), options.faults)
        environment = world_environment(world, sandbox_url, options.member_policy, sandbox_keys(os.environ))
        stack.enter_context(played(home, environment))
        instance, clock = stack.enter_context(_instance(load_settings(), home.database_url))
        if stop is None:
            return _play_to_the_end(options, world, instance, clock, home, load_definitions(), say)
        _play_with_ui(options, world, instance, clock, home, family, stop, say)
        return None


def _play_to_the_end(
    options: DemoOptions,
    world: World,
    instance: Instance,
    clock: StoredClock,
    home: Home,
    definitions: "dg.Definitions",
    say: Say,
) -> dict[str, Any]:
    import dagster as dg

    from ensemble_pipeline.pipeline.headless import Conductor

    clock.start_stepped(world.starts_at)
    watch = Stopwatch()
    said = [0.0]

    def on_step(now: datetime) -> None:
        if watch.elapsed_s() - said[0] >= 2.0 or not said[0]:
            said[0] = watch.elapsed_s()
            say(_progress_line(instance, now))

    with dg.DagsterInstance.from_config(str(home.folder), launcher.HEADLESS_CONFIG) as dagster:
        # Dagster opens a connection per statement unless told that the process stays
        dagster.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=8)
        steps = Conductor(definitions, instance, clock, dagster, world).play(on_step)
    report = EnsembleMonitor(instance).generate_reports()
    report["played"] = {**asdict(steps), "elapsed_s": round(watch.elapsed_s(), 1)}
    report["truth"] = _truth(world)
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=2, default=str) + "\n")
        say(f"report written to {options.report}")
    return report


def _truth(world: World) -> dict[str, Any]:
    """What is known of the world itself, to hold the report against."""
    from ensemble_pipeline.replay.archive_world import ArchiveWorld
    from ensemble_pipeline.sandbox.synthetic import SyntheticWorld

    if isinstance(world, ArchiveWorld):
        return {
            "forecasts": world.forecast_count,
            "failed_forecasts": world.failed_forecast_count,
            "has_synthetic_models": world.has_synthetic_models,
        }
    return {"skill_order": world.true_skill_order} if isinstance(world, SyntheticWorld) else {}


def _progress_line(instance: Instance, now: datetime) -> str:
    state = EnsembleMonitor(instance).track_performance()
    markets, paper = state["markets"], state["paper"]
    return (
        f"{now:%Y-%m-%d %H:%M} · markets {markets['seen']} seen, {markets['settled']} settled"
        f" · decisions {state['decisions']['total']} ({markets['undecided']} waiting), {paper['trades']} trades"
        f" · calls {sum(state['model_calls'].values())}, ${state['spend_usd']:.2f}"
        f" · paper P&L ${paper['net_profit_usd']:+.2f}"
    )


def _play_with_ui(
    options: DemoOptions,
    world: World,
    instance: Instance,
    clock: StoredClock,
    home: Home,
    family: Family,
    stop: threading.Event,
    say: Say,
) -> None:
    if world.kind == "archive":
        clock.start_stepped(world.starts_at)
    launcher.start_dagster(family, home, launcher.inherited(), options.ui_port)
    say("starting Dagster …")
    launcher.wait_for_ui(family, options.ui_port, stop)
    if world.kind == "synthetic":
        clock.start_accelerated(world.starts_at, options.speed)
    _say_where_to_look(options.ui_port, world, say)
    try:
        _watch(instance, clock, family, world, stop, say)
    finally:
        clock.freeze()
        say("ending: webserver, daemon, code server, sandbox, PostgreSQL last …")


def _say_where_to_look(port: int, world: World | None, say: Say) -> None:
    base = f"http://127.0.0.1:{port}"
    what = "the real world, on paper" if world is None else f"{world.kind} world {world.key}"
    say(f"playing {what}")
    say(f"  lineage, from markets to costs     {base}/asset-groups")
    say(f"  decision runs, op by op            {base}/runs")
    say(f"  windows, by day                    {base}/assets/performance_windows")
    say(f"  who is trusted, and how much       {base}/assets/model_rankings")
    say("Ctrl-C ends everything; the next start goes on from there.")


def _watch(
    instance: Instance, clock: StoredClock, family: Family, world: World | None, stop: threading.Event, say: Say
) -> None:
    watch, said, beaten, has_ended, away = Stopwatch(), 0.0, 0.0, False, _Away(say)
    while not stop.wait(0.5):
        family.require_alive()
        with away.waited_for():
            if watch.elapsed_s() - beaten >= HEARTBEAT_S:
                beaten = watch.elapsed_s()
                clock.beat()
            if world is not None and not has_ended:
                has_ended = _let_go_on(instance, clock, world)
                if has_ended:
                    clock.freeze()
                    say("the world has come to its end; the UI stays until Ctrl-C")
            if watch.elapsed_s() - said >= _LINE_EVERY_S:
                said = watch.elapsed_s()
                say(_progress_line(instance, instance.clock.now()))


class _Away:
    """Patience with a database that is restarted."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._since: Stopwatch | None = None

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Go on after the block where the database did not answer in it; raises once it has been away for too long."""
        try:
            yield
        except DatabaseError as error:
            self._since = self._since or Stopwatch()
            if self._since.elapsed_s() > _MOST_AWAY_S:
                raise
            self._say(f"waiting for the database: {error}")
        else:
            self._since = None


def _let_go_on(instance: Instance, clock: StoredClock, world: World) -> bool:
    """Move a stepped world on once nothing is pending; returns whether the world has ended."""
    now = clock.now()
    if world.kind == "synthetic":
        return now > world.ends_at
    if not is_quiet(instance):
        return False
    following = world.next_event_after(now)
    if following is None:
        return True
    clock.advance_to(following)
    return False


def run_up(ui_port: int, say: Say) -> None:
    """Run against the real world, on paper, until told to stop."""
    require_free(ui_port, "--port")
    stop = _stop_event()
    with ExitStack() as stack:
        home = stack.enter_context(open_home(LIVE, "live"))
        os.environ.update(home.environment())
        launcher.prepare_dagster_home(home)
        family = stack.enter_context(_family(home))
        instance, clock = stack.enter_context(_instance(load_settings(), home.database_url))
        launcher.start_dagster(family, home, launcher.inherited(), ui_port)
        say("starting Dagster …")
        launcher.wait_for_ui(family, ui_port, stop)
        _say_where_to_look(ui_port, None, say)
        try:
            _watch(instance, clock, family, None, stop, say)
        finally:
            say("ending: webserver, daemon, code server, PostgreSQL last …")
