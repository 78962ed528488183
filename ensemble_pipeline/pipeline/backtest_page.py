"""A backtest as a page for people: one document that needs nothing beside it.

Belongs here: what stands on the page, and in which order. Does not: the sentences, tables and pictures
(backtest_words.py, backtest_tables.py, backtest_pictures.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ensemble_pipeline.pipeline import backtest_pictures as pictures
from ensemble_pipeline.pipeline.backtest_tables import members_table, money, scores_table, strategies_table
from ensemble_pipeline.pipeline.backtest_words import count, difference_of, findings, short_comparison, spaced, usd
from ensemble_pipeline.pipeline.html_page import Html, figure, items, page, plain, table, tag
from ensemble_pipeline.pipeline.plots.lines import MOST_LINES
from ensemble_pipeline.replay.backtest.scores import Scored, scored
from ensemble_pipeline.replay.backtest.walk import Walk
from ensemble_pipeline.settings import EnsembleSettings

_HOW = (
    "Each archive was walked through in the order of time: every question was decided with what had "
    "settled by then, by the code that decides in production, and nothing from later. Brier score: mean squared "
    "distance to what happened, 0 is perfect, 0.25 is what saying 50% always gets; log loss punishes the confident "
    "and wrong more. Of both, lower is better. Rows of one event err together, so that intervals count events."
)
_HINDSIGHT = (
    "The best member is picked with the outcomes in hand; nobody could have known it beforehand. Each member's score "
    "is on the rows that it answered, and rows differ in difficulty: the differences below are on the same rows."
)
_PAPER = (
    "Each strategy had its own paper account, at the prices of the archive, after fees. Skipped counts "
    "decisions that opened nothing, and why: the last reason of each. After calls: net profit less what the calls cost."
)


def backtest_page(walks: Sequence[tuple[Walk, Mapping[str, Any]]], options: EnsembleSettings) -> str:
    """The page of these walks, each with its report."""
    reports = [report for _, report in walks]
    return page(
        "Backtest: " + ", ".join(report["archive"] for report in reports),
        [
            tag("h1", plain("Backtest")),
            tag("p", plain(_HOW)),
            *([_overview(reports)] if len(reports) > 1 else []),
            *(_archive(n, walk, report, options) for n, (walk, report) in enumerate(walks, start=1)),
        ],
    )


def _overview(reports: Sequence[Mapping[str, Any]]) -> Html:
    columns = [
        "archive", "rows", "events", "without the price, against the plain mean", "with the price, against the market",
        "net profit on paper", "spent on calls",
    ]  # fmt: skip
    return table(columns, [_overview_row(n, report) for n, report in enumerate(reports, start=1)], words=[3, 4])


def _overview_row(number: int, report: Mapping[str, Any]) -> list[Html]:
    gaps, own = report["differences"], next(iter(report["strategies"].values()))
    mean = difference_of("the plain mean", gaps["ensemble_without_market_minus_plain_mean"])
    market = difference_of("the market", gaps["ensemble_minus_market"])
    return [
        tag("a", plain(report["archive"]), href=f"#archive-{number}"),
        plain(f"{report['rows']:,}"),
        plain(f"{mean.n_events:,}"),
        plain(short_comparison(mean)),
        plain(short_comparison(market) if market.n_rows else "no prices"),
        money(own["paper"]["net_profit_usd"]),
        plain(usd(own["cost_usd"])),
    ]


def _archive(number: int, walk: Walk, report: Mapping[str, Any], options: EnsembleSettings) -> Html:
    rows = scored(walk, options)
    strategy = walk.tracks[0].name
    return tag(
        "section",
        tag("h2", plain(report["archive"])),
        items(findings(report, strategy)),
        _facts(walk, report, rows),
        tag("h3", plain("Scores")),
        scores_table(report, rows),
        _note(_HINDSIGHT),
        *_pictures(walk, rows, strategy),
        tag("h3", plain("Strategies: what each would have spent and earned")),
        strategies_table(report),
        _note(_PAPER),
        tag("h3", plain("Members")),
        members_table(report),
        id=f"archive-{number}",
    )


def _facts(walk: Walk, report: Mapping[str, Any], rows: Scored) -> Html:
    played = walk.played.rows
    facts = {
        "questions": f"{report['questions']:,}",
        "rows decided": f"{len(played):,}",
        "rows scored": f"{report['rows']:,}",
        "rows with a price": f"{report['on_market_rows']['rows']:,}",
        "events": f"{len(set(rows.event.tolist())):,}",
        "members": f"{len(rows.names):,}",
        "asked": f"{played[0].at:%Y-%m-%d} to {played[-1].at:%Y-%m-%d}",
        "cost of all calls": usd(report["cost_usd"]),
        "cost per row": usd(report["cost_usd"] / len(played)),
    }
    return tag("dl", *(tag("div", tag("dt", plain(name)), tag("dd", plain(told))) for name, told in facts.items()))


def _pictures(walk: Walk, rows: Scored, strategy: str) -> Iterator[Html]:
    yield tag("h3", plain("Score against baselines and members"))
    for drawn in pictures.differences(rows):
        yield figure(drawn)
    yield tag("h3", plain("Reliability: does it come true as often as it is said?"))
    diagrams = [figure(drawn) for drawn in pictures.reliability(walk, rows)]
    yield tag("div", *diagrams, class_="pictures") if diagrams else _note("Nothing has resolved that could be shown.")
    yield tag("h3", plain("Weights over time"))
    over_time = pictures.weights(walk)
    if over_time is None:
        yield _note("All was asked at one time, or nobody answered: no weight could change.")
        return
    yield figure(over_time)
    more = len(rows.names) - MOST_LINES
    left_out = f" The {count(more, 'member')} of the smallest weight are not drawn." if more > 0 else ""
    yield _note(
        f"Weights of {spaced(strategy)}, the strategy of the settings: means over the rows asked about the same time "
        f"that the member answered; where one did not answer, the others had its share.{left_out}"
    )


def _note(words: str) -> Html:
    return tag("p", plain(words), class_="note")
