"""The `ensemble` command."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensemble_pipeline import __version__
from ensemble_pipeline.domain import Mode, Strategy
from ensemble_pipeline.errors import EnsembleError
from ensemble_pipeline.providers.texts import printable

if TYPE_CHECKING:
    from dagster import Definitions

    from ensemble_pipeline.pipeline.worlds import WorldSpec

_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_DAY = click.DateTime(formats=["%Y-%m-%d"])


def _say(text: str, *, is_error: bool = False) -> None:
    """Print lines of which others wrote parts: no character of them may steer the terminal."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=is_error)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Opinions of several language models in, trading decisions on prediction markets out."""


def _world_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--markets-per-day", default=10, show_default=True, help="New markets a day (synthetic)."),
        click.option("--days", default=30, show_default=True, help="Days the synthetic world lasts."),
        click.option("--seed", default=7, show_default=True, help="Seed of the synthetic world."),
        click.option("--to", "last", type=_DAY, help="Last day of the archive to play, UTC."),
        click.option("--from", "first", type=_DAY, help="First day of the archive to play, UTC."),
        click.option("--archive", type=_FOLDER, help="Archive to play; without one a synthetic world is played."),
    ):
        command = option(command)
    return command


@cli.command()
@_world_options
@click.option(
    "--members",
    type=click.Choice(["all", "selected"]),
    help="Ask every model about every market, or let cascade and ranking choose. [archive: all; else: selected]",
)
@click.option("--until-done", is_flag=True, help="Play to the world's end without the UI, then stop.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a JSON summary (--until-done).")
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
@click.option("--speed", default=720.0, show_default=True, help="World seconds per second (synthetic, with the UI).")
@click.option("--fresh", is_flag=True, help="Forget what was played of this world before.")
@click.option(
    "--faults", type=_FILE, help="JSON list of faults that strike providers and venue from the first call on."
)
def demo(  # noqa: PLR0913, PLR0917 - one argument an option
    archive: Path | None,
    first: datetime | None,
    last: datetime | None,
    seed: int,
    days: int,
    markets_per_day: int,
    members: str | None,
    until_done: bool,
    report: Path | None,
    port: int,
    speed: float,
    fresh: bool,
    faults: Path | None,
) -> None:
    """Play a world through the whole pipeline: synthetic, or a real archive. Needs no keys."""
    from ensemble_pipeline.pipeline.demo import DemoOptions, run_demo

    spec = _spec(archive, first, last, seed, days, markets_per_day)
    policy = members or ("all" if archive is not None else "selected")
    options = DemoOptions(spec, policy, until_done, report, port, speed, fresh, faults)
    summary = run_demo(options, _load_definitions, click.echo)
    if summary is not None and report is None:
        click.echo(json.dumps(summary, indent=2, default=str))
    if summary is not None and summary["markets"]["undecided"]:
        raise EnsembleError(f"{summary['markets']['undecided']} snapshots stayed undecided; see their runs in the UI")


def _spec(
    archive: Path | None, first: datetime | None, last: datetime | None, seed: int, days: int, markets_per_day: int
) -> "WorldSpec":
    from ensemble_pipeline.pipeline.worlds import WorldSpec

    return WorldSpec(archive, _day(first), _day(last), seed, days, markets_per_day)


def _load_definitions() -> "Definitions":
    from ensemble_pipeline.definitions import defs

    return defs


def _day(at: datetime | None) -> date | None:
    return None if at is None else at.date()


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI on 127.0.0.1.")
def up(port: int) -> None:
    """Run against the real world in paper mode; reads keys from the environment."""
    from ensemble_pipeline.pipeline.demo import run_up

    run_up(port, click.echo)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def status(as_json: bool) -> None:
    """What the instance last started here has done so far."""
    from ensemble_pipeline.pipeline.status import read_status, show_status

    state = read_status()
    _say(json.dumps(state, indent=2, default=str) if as_json else show_status(state))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI to look at.")
def doctor(as_json: bool, port: int) -> None:
    """What is missing, each with what to do. Exits with 1 where something needed is."""
    from ensemble_pipeline.pipeline.doctor import examine

    findings = examine(port)
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            _say(finding.as_line())
    if any(finding.is_fatal for finding in findings):
        sys.exit(1)


@cli.command()
@click.option("--from", "first", type=_DAY, required=True, help="First day, UTC.")
@click.option("--to", "last", type=_DAY, required=True, help="Last day, UTC.")
def backfill(first: datetime, last: datetime) -> None:
    """Build the performance windows of a range of days anew from the ledger, in a single run."""
    from ensemble_pipeline.pipeline.backfill import run_backfill

    run_backfill(first.date(), last.date(), _load_definitions, click.echo)


def _lasting(_context: click.Context, _parameter: click.Parameter, text: str | None) -> timedelta | None:
    """A time as ``90s``, ``30m``, ``2h``, ``1d`` or several of these in a row."""
    if text is None:
        return None
    parts = re.findall(r"(\d{1,6})([smhd])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise click.BadParameter(f"{text!r} is no time; write it as 90s, 30m, 2h, 1d or 1h30m")
    return sum((int(number) * _UNITS[unit] for number, unit in parts), timedelta())


_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@cli.command()
@click.argument("name", required=False, type=click.Choice([it.value for it in Mode]))
@click.option("--cause", help="Why; kept with the change. Needed with a mode.")
@click.option("--for", "lasts", metavar="TIME", callback=_lasting, help="How long, as 30m, 2h or 1d; else until ended.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def mode(name: str | None, cause: str | None, lasts: timedelta | None, as_json: bool) -> None:
    """Show the operating mode in force, or put one in force by hand.

    What is set by hand is a floor: the evidence may make the mode more careful, never less. `normal` ends it, and the
    mode is again what the evidence says.
    """
    from ensemble_pipeline.pipeline import mode as room

    if name is not None:
        if cause is None:
            raise click.UsageError("say why: ensemble mode NAME --cause TEXT")
        room.set_mode(name, cause, lasts)
    elif cause is not None or lasts is not None:
        raise click.UsageError("name the mode that is to be put in force")
    state = room.read_mode()
    click.echo(json.dumps(state, indent=2) if as_json else room.show_mode(state))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable: the whole report.")
def costs(as_json: bool) -> None:
    """What calls cost by period and model, what it brought, where the day is heading, and what to do."""
    from ensemble_pipeline.pipeline.budget import read_costs, show_costs

    report = read_costs()
    _say(json.dumps(report, indent=2) if as_json else show_costs(report))


@cli.group()
def budget() -> None:
    """What may still be spent today, and bills that nobody can believe."""


@budget.command("show")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def show_budget(as_json: bool) -> None:
    """Today's accounts against their limits, and the alerts that are open."""
    from ensemble_pipeline.pipeline import budget as room

    found = room.read_budget()
    _say(json.dumps(room.budget_json(*found), indent=2, default=str) if as_json else room.show_budget(*found))


@budget.command("disputes")
def show_disputes() -> None:
    """Costs so far beyond the worst case that they are not believed; their models are not asked."""
    from ensemble_pipeline.pipeline import budget as room

    _say(room.show_disputes(room.read_disputes()))


@budget.command("accept")
@click.argument("number", type=int)
@click.option("--cause", required=True, help="Why; kept with the decision.")
def accept_dispute(number: int, cause: str) -> None:
    """Book what a disputed bill claims, on the day of its call; the model may be asked again."""
    from ensemble_pipeline.pipeline import budget as room

    _say(room.decide(number, "accepted", cause))


@budget.command("reject")
@click.argument("number", type=int)
@click.option("--cause", required=True, help="Why; kept with the decision.")
def reject_dispute(number: int, cause: str) -> None:
    """Leave a disputed bill as it is booked; the model may be asked again."""
    from ensemble_pipeline.pipeline import budget as room

    _say(room.decide(number, "rejected", cause))


@cli.group()
def breakers() -> None:
    """Models and providers that are left alone after failures."""


@breakers.command("show")
def show_breakers() -> None:
    """The breakers as they stand, with their causes."""
    from ensemble_pipeline.pipeline import breakers as room

    _say(room.show_breakers(room.read_breakers()))


@breakers.command("close")
@click.argument("name")
@click.option("--cause", required=True, help="Why; kept with the change.")
def close_breaker(name: str, cause: str) -> None:
    """Have a model or a provider asked again at once, once what was wrong with it is mended."""
    from ensemble_pipeline.pipeline import breakers as room

    _say(room.close_breaker(name, cause))


@cli.command()
@click.argument("decision_id", type=int)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with every prompt and raw answer.")
def explain(decision_id: int, as_json: bool) -> None:
    """What a decision rested on: market, answers, ranking, calibration, gates, size, settings, code, outcome."""
    from ensemble_pipeline.pipeline.explain import read_explanation, show_explanation

    found = read_explanation(decision_id)
    _say(json.dumps(found, indent=2) if as_json else show_explanation(found))


@cli.command()
@click.argument("decision_id", type=int, required=False)
@click.option("--all", "is_all", is_flag=True, help="Every decision.")
@click.option("--strategy", type=click.Choice([it.value for it in Strategy]), help="Decide by this strategy instead.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Decide under another setting.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def replay(
    decision_id: int | None, is_all: bool, strategy: str | None, changes: tuple[str, ...], as_json: bool
) -> None:
    """Make decisions again from what they rested on, calling nobody; exits with 1 where one is not bit-exact.

    With another strategy or setting it shows what would have been decided.
    """
    from ensemble_pipeline.domain import Strategy
    from ensemble_pipeline.pipeline.replaying import read_replays, replay_summary, show_replay
    from ensemble_pipeline.replay.decisions import Alternative

    if is_all == (decision_id is not None):
        raise click.UsageError("name one decision, or --all")
    alternative = Alternative(None if strategy is None else Strategy(strategy), dict(map(_setting, changes)))
    is_alternative = bool(strategy or changes)
    summary = replay_summary(read_replays(None if is_all else decision_id, alternative), is_alternative=is_alternative)
    _say(json.dumps(summary, indent=2, default=str) if as_json else show_replay(summary))
    if summary["different"] and not is_alternative:
        sys.exit(1)


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE, as ensemble.market_weight=0.1", param_hint="--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@cli.command()
@click.option("--archive", "archives", type=_PATH, multiple=True, required=True, help="Archive; may be repeated.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JSON file to write.")
@click.option("--prices", type=_FILE, help="JSON price list: what the models that it names would have cost.")
def backtest(archives: tuple[Path, ...], report: Path, prices: Path | None) -> None:
    """Decide archives row by row as of their time, by all strategies; writes FILE and an HTML page beside it."""
    from ensemble_pipeline.pipeline.backtest import page_beside, run_backtest, show_reports

    _say(show_reports(run_backtest(archives, report, prices)))
    click.echo(f"{report} and {page_beside(report)} written")


@cli.command("decide")
@click.argument("market_id")
@click.option("--agreement", is_flag=True, help="Ask two models that must agree, in place of the ensemble.")
def decide_now(market_id: str, agreement: bool) -> None:
    """Decide about one known market now, on paper, and record it like every other decision."""
    from ensemble_pipeline.pipeline.on_demand import decide_on_demand, show_decision

    _say(show_decision(decide_on_demand(market_id, agreement)))


@cli.group()
def evidence() -> None:
    """What was published about markets, for the members to read."""


@evidence.command("add")
@click.argument("market_id")
@click.option("--source", required=True, help="Who published it.")
@click.option(
    "--published",
    type=click.DateTime(formats=["%Y-%m-%dT%H:%M:%S%z"]),
    required=True,
    help="When, with its zone: 2025-10-26T00:00:00Z.",
)
@click.option("--text", required=True, help="What it says.")
def add_evidence(market_id: str, source: str, published: datetime, text: str) -> None:
    """Let members read it from the next decision on the market on."""
    from ensemble_pipeline.pipeline.evidence import add_evidence as add

    is_new = add(market_id, source, published, text)
    click.echo(f"kept for {market_id}" if is_new else f"{market_id} has it already")


@cli.command(hidden=True)
@_world_options
@click.option("--port", type=int, required=True)
@click.option("--faults", type=_FILE, help="JSON list of faults.")
def sandbox(
    archive: Path | None,
    first: datetime | None,
    last: datetime | None,
    seed: int,
    days: int,
    markets_per_day: int,
    port: int,
    faults: Path | None,
) -> None:
    """Serve a world on loopback; started by `demo`, which passes the database with the clock."""
    from ensemble_pipeline.pipeline.resources import open_instance
    from ensemble_pipeline.pipeline.worlds import sandbox_keys
    from ensemble_pipeline.sandbox.control import read_script
    from ensemble_pipeline.sandbox.serve import serve

    world = _spec(archive, first, last, seed, days, markets_per_day).open()
    script = () if faults is None else read_script(faults)
    serve(world, open_instance().clock, port, faults=script, keys=sandbox_keys(os.environ))


def main() -> None:
    """Run the command; errors raised on purpose become one message on stderr and exit status 1."""
    from stamina.instrumentation import set_on_retry_hooks

    # each attempt at a model is in the ledger with its cause, and a venue's error tells of its last: once is enough
    set_on_retry_hooks([])
    # the same for the pool's attempts at a database: the error that ends them names it
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    try:
        cli(standalone_mode=True)
    except EnsembleError as error:
        _say(f"ensemble: {error}", is_error=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
