"""The tables of a backtest's page: scores, strategies and members.

Belongs here: what a table's cells say. Does not: how a table is written (html_page.py), sentences (backtest_words.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.scoring import brier_score, log_loss
from ensemble_pipeline.pipeline.backtest_words import signed_usd, spaced, usd, why_skipped
from ensemble_pipeline.pipeline.html_page import Html, joined, plain, table, tag
from ensemble_pipeline.replay.backtest.scores import Floats, Score, Scored

SAID = {
    "ensemble": "ensemble with the price",
    "ensemble_without_market": "ensemble without the price",
    "plain_mean": "plain mean",
    "median": "median",
    "log_odds_mean": "log-odds mean",
    "market": "market",
}
"""Names for readers, by the names in the scored columns."""

_NONE = plain("–")
_MOST_REASONS = 3


def scores_table(report: Mapping[str, Any], rows: Scored) -> Html:
    """Everybody's scores: on all rows, and on those with a price where these are fewer."""
    is_priced = ~np.isnan(rows.said["market"])
    has_both = bool(is_priced.any()) and not is_priced.all()
    columns = ["forecaster", "Brier", "log loss", "rows"]
    if has_both:
        columns += ["Brier where there is a price", "log loss where there is a price"]
    lines: list[list[Html]] = []
    for name, words in SAID.items():
        if name == "market" and not is_priced.all():
            cells = [_NONE, _NONE, plain(f"{is_priced.sum():,}")]
        else:
            cells = [_score(report["brier"][name]), _score(report["log_loss"][name]), plain(f"{len(rows.rows):,}")]
        if has_both:
            cells += [_score_on(rows, rows.said[name], is_priced, score) for score in (brier_score, log_loss)]
        lines.append([plain(words), *cells])
    if not is_priced.any():
        lines = lines[1:-1]
    members = [[*line, *([_NONE] * (len(columns) - len(line)))] for line in _of_members(report)]
    return table(columns, [*lines[:-1], *members, lines[-1]] if is_priced.any() else [*lines, *members])


def _of_members(report: Mapping[str, Any]) -> Iterator[list[Html]]:
    brier, loss = report["brier"], report["log_loss"]
    yield [
        plain("mean of the members' scores"),
        _score(brier["mean_of_members"]),
        _score(loss["mean_of_members"]),
        plain("each its own"),
    ]
    by_brier, by_loss = brier["best_member_in_hindsight"], loss["best_member_in_hindsight"]
    if by_brier is None:
        return
    yield [
        plain(f"best member in hindsight: {by_brier['model']}"),
        _score(by_brier["brier"]),
        _score(by_loss["log_loss"]) if by_loss["model"] == by_brier["model"] else _NONE,
        plain(f"{report['members'][by_brier['model']]['rows']:,}"),
    ]
    if by_loss["model"] != by_brier["model"]:
        yield [
            plain(f"best member in hindsight, by log loss: {by_loss['model']}"),
            _NONE,
            _score(by_loss["log_loss"]),
            plain(f"{report['members'][by_loss['model']]['rows']:,}"),
        ]


def _score_on(rows: Scored, said: Floats, keep: NDArray[np.bool_], score: Score) -> Html:
    return _score(float(score(said[keep], rows.outcome[keep]).mean()))


def strategies_table(report: Mapping[str, Any]) -> Html:
    """What each strategy would have said, spent and earned."""
    columns = [
        "strategy", "Brier with the price", "Brier without", "traded", "skipped", "why skipped", "spent on calls",
        "paper trades", "still open", "staked", "fees", "net profit on paper", "after calls",
    ]  # fmt: skip
    return table(columns, [_strategy(name, told) for name, told in report["strategies"].items()], words=[5])


def _strategy(name: str, told: Mapping[str, Any]) -> list[Html]:
    paper = told["paper"]
    return [
        plain(spaced(name)),
        _score(told["brier"]),
        _score(told["brier_without_market"]),
        plain(f"{told['decided']:,}"),
        plain(f"{told['skipped']:,}"),
        joined(tag("div", plain(reason)) for reason in why_skipped(told, _MOST_REASONS)),
        plain(usd(told["cost_usd"])),
        plain(f"{paper['trades']:,}"),
        plain(f"{paper['open_positions']:,}"),
        plain(usd(paper["staked_usd"])),
        plain(usd(paper["fees_usd"])),
        money(paper["net_profit_usd"]),
        money(paper["net_profit_usd"] - told["cost_usd"]),
    ]


def members_table(report: Mapping[str, Any]) -> Html:
    """Each member's own score, the best first."""
    told = report["members"]
    ordered = sorted(told, key=lambda name: (told[name]["brier"] is None, told[name]["brier"] or 0.0, name))
    rows = [
        [
            plain(name),
            _score(told[name]["brier"]),
            plain(f"{told[name]['rows']:,}"),
            plain(f"{told[name]['failed']:,}"),
            _NONE if told[name]["mean_weight"] is None else plain(f"{told[name]['mean_weight']:.1%}"),
        ]
        for name in ordered
    ]
    return table(["member", "Brier", "rows scored", "calls failed", "mean weight"], rows)


def _score(value: float | None) -> Html:
    return _NONE if value is None else plain(f"{value:.4f}")


def money(amount: float) -> Html:
    """A gain or a loss, told by sign, arrow and colour."""
    if not amount:
        return plain(usd(0))
    mark, kind = ("▲", "gain") if amount > 0 else ("▼", "loss")
    return tag("span", plain(f"{mark} {signed_usd(amount)}"), class_=kind)
