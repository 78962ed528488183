"""Backtests on archives of a few questions: nothing from later, sums by hand, errors that say what and where."""

import json
import math
import socket
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble_pipeline.cli import cli
from ensemble_pipeline.domain import Strategy
from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.forecasting.uncertainty import MEMBER_CORRELATION, USUAL_SD, USUAL_SD_WEIGHT
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.backtest.costs import Costs
from ensemble_pipeline.replay.backtest.rows import played
from ensemble_pipeline.replay.backtest.scores import report
from ensemble_pipeline.replay.backtest.walk import SELECTED, StrategyTrack, Walk, walk
from ensemble_pipeline.settings import Settings
from ensemble_pipeline_tests.journeys.running import assert_one_message, run
from ensemble_pipeline_tests.replay.small_archive import (
    FORECAST,
    FORECAST_COLUMNS,
    PRICE,
    QUESTION,
    write_archive,
    write_file,
)
from ensemble_pipeline_tests.replay.small_questions import (
    MODELS,
    START,
    Asked,
    Question,
    settled_before,
    walked,
    write_questions,
)

SCORES = {
    "ensemble", "ensemble_without_market", "plain_mean", "median", "log_odds_mean", "mean_of_members",
    "best_member_in_hindsight", "market",
}  # fmt: skip
_FOLDERS = count()


def said(p: float, price: float | None = None, hours: float = 0) -> Asked:
    """Everybody says the same."""
    return Asked(hours, dict.fromkeys(MODELS, p), price)


def rows_at(found: Walk, name: str) -> list[int]:
    """The numbers of the rows about a question, in the order of time."""
    return [row.number for row in found.played.rows if f"Will {name}?" in row.snapshot.market.question]


def what_was_said(found: Walk, is_kept: Callable[[int], bool]) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    """Everything each strategy said and did on the rows that are kept, by question and instant, to the bit."""
    told: dict[tuple[str, str, str], tuple[Any, ...]] = {}
    for track in found.tracks:
        for row in found.played.rows:
            if is_kept(row.number):
                key = (track.name, row.snapshot.market.question, row.at.isoformat())
                told[key] = (*_numbers(track, row.number), bool(track.is_trade[row.number]))
    return told


def _numbers(track: StrategyTrack, n: int) -> list[str]:
    values = [track.p_pooled[n], track.p_calibrated[n], track.p_final[n], track.cost_micro_usd[n], *track.weight[n]]
    return [float(value).hex() for value in values]


def backtest(target: Path, *archives: Path, prices: Path | None = None) -> Result:
    named = [text for archive in archives for text in ("--archive", str(archive))]
    listed = [] if prices is None else ["--prices", str(prices)]
    return CliRunner().invoke(cli, ["backtest", *named, *listed, "--report", str(target)])


# What is known when


def test_what_settles_at_an_instant_is_known_to_rows_asked_at_it_and_not_to_earlier_ones(tmp_path: Path) -> None:
    second = 1 / 3600
    late = Question("late", resolves=200, opens=20, rows=[said(0.7, hours=24 - second), said(0.7, hours=48)])
    now = Question("now", resolves=200, opens=20, rows=[said(0.7, hours=24)])
    found = walked(tmp_path / "a", [*settled_before(30), late, now])
    own = found.tracks[0]
    early, known = rows_at(found, "late")[0], rows_at(found, "now")[0]
    equal = pytest.approx([1 / 3] * 3)
    assert own.weight[early] == equal
    assert own.p_calibrated[early] == pytest.approx(own.p_pooled[early], abs=1e-12)
    assert own.weight[known] != equal
    assert own.weight[known][1] > own.weight[known][0] > own.weight[known][2]
    assert abs(own.p_calibrated[known] - own.p_pooled[known]) > 1e-6


@pytest.mark.parametrize(("asked_ms", "is_known"), [(200, False), (499, False), (500, True), (700, True)])
def test_settled_and_asked_within_one_second_are_told_apart(tmp_path: Path, asked_ms: int, is_known: bool) -> None:
    old = settled_before(30, resolves=24 + 0.5 / 3600)
    asked = Question("asked", resolves=200, opens=20, rows=[said(0.7, hours=24 + asked_ms / 3_600_000)])
    found = walked(tmp_path / "a", [*old, asked])
    [row] = rows_at(found, "asked")
    assert (found.tracks[0].weight[row] != pytest.approx([1 / 3] * 3)) is is_known


def test_rows_of_one_event_learn_nothing_from_each_other_before_it_resolves(tmp_path: Path) -> None:
    def event(first: float) -> list[Question]:
        one = Question("one", False, 90, [said(first), said(first, 0.5, hours=30)], event="same")
        other = Question("other", True, 90, [said(0.7, 0.5, hours=40), said(0.6, hours=80)], event="same")
        return [*settled_before(12), one, other]

    kept, changed = walked(tmp_path / "a", event(0.9)), walked(tmp_path / "b", event(0.05))
    for number in rows_at(kept, "other"):
        assert _numbers(kept.tracks[0], number) == _numbers(changed.tracks[0], number)


def test_question_that_never_resolves_teaches_nothing_and_is_not_scored(tmp_path: Path) -> None:
    later = Question("later", resolves=300, rows=[said(0.7, hours=200)], opens=100)
    never = [Question(f"never{i}", None, None, [said(0.9), said(0.2, hours=50)]) for i in range(5)]
    without, with_them = walked(tmp_path / "a", [later]), walked(tmp_path / "b", [later, *never])
    [plain], [seen] = rows_at(without, "later"), rows_at(with_them, "later")
    assert _numbers(without.tracks[0], plain) == _numbers(with_them.tracks[0], seen)
    assert report(with_them, Settings().ensemble)["rows"] == 1
    assert report(with_them, Settings().ensemble)["questions"] == 6


def test_skill_older_than_the_longest_window_says_nothing_about_today(tmp_path: Path) -> None:
    days = 24
    young = Question("young", resolves=80 * days, opens=2 * days, rows=[said(0.7, hours=3 * days)])
    edge = Question("edge", resolves=80 * days, opens=2 * days, rows=[said(0.7, hours=31 * days - 1)])
    old = Question("old", resolves=80 * days, opens=2 * days, rows=[said(0.7, hours=31 * days)])
    found = walked(tmp_path / "a", [*settled_before(30), young, edge, old])
    weights = {name: found.tracks[0].weight[rows_at(found, name)[0]] for name in ("young", "edge", "old")}
    assert weights["young"] != pytest.approx([1 / 3] * 3)
    assert weights["edge"] == pytest.approx(weights["young"], abs=0.05)
    assert weights["edge"] != pytest.approx([1 / 3] * 3)
    assert weights["old"] == pytest.approx([1 / 3] * 3)


PROBABILITIES = st.integers(1, 99).map(lambda n: n / 100)
ROWS = st.builds(
    Asked,
    st.integers(0, 60).map(float),
    st.fixed_dictionaries(
        {"gpt-a": st.one_of(st.none(), PROBABILITIES), "claude-b": PROBABILITIES},
        optional={"grok-c": PROBABILITIES},
    ),
    st.one_of(st.none(), st.integers(5, 95).map(lambda n: n / 100)),
)
# at least an hour apart, so that none joins another's row
QUESTIONS = st.builds(
    Question,
    name=st.just(""),
    outcome=st.booleans(),
    resolves=st.integers(61, 140).map(float),
    rows=st.lists(ROWS, min_size=1, max_size=3, unique_by=lambda row: row.hours),
    event=st.sampled_from(["", "", "shared"]),
    category=st.sampled_from(["weather", "sport"]),
)


def probes() -> list[Question]:
    """Asked every few hours after the others, and resolved after all."""
    rows = [Asked(hours, {"gpt-a": 0.7, "claude-b": 0.6, "grok-c": 0.4}, 0.5) for hours in range(62, 150, 6)]
    return [Question("probe", resolves=900, rows=rows)]


def named(prefix: str, questions: Sequence[Question]) -> list[Question]:
    return [replace(it, name=f"{prefix}{i}") for i, it in enumerate(questions)]


@given(
    base=st.lists(QUESTIONS, min_size=2, max_size=5),
    planted=st.lists(QUESTIONS, min_size=1, max_size=4),
    flips=st.lists(st.booleans(), min_size=5, max_size=5),
    until=st.integers(60, 140),
)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_nothing_that_is_known_later_changes_what_was_said_before_not_one_bit(
    tmp_path: Path,
    base: list[Question],
    planted: list[Question],
    flips: list[bool],
    until: int,
) -> None:
    # some settle before `until` and are learnt from; the others may settle otherwise, and more may be asked
    early = [*settled_before(8, resolves=30), *probes()]
    these = named("base", base)
    others = [
        replace(it, outcome=bool(it.outcome) ^ flip) if (it.resolves or 0) > until else it
        for it, flip in zip(these, flips, strict=False)
    ]
    # whenever they are asked, they resolve later, some together with what was asked before, and have longer texts
    later = [replace(it, resolves=max(it.resolves or 0, until + 1.0)) for it in named("planted" * 9, planted)]
    before = walked(tmp_path / f"a{next(_FOLDERS)}", [*early, *these])
    after = walked(tmp_path / f"a{next(_FOLDERS)}", [*early, *others, *later])

    def said_by(found: Walk) -> dict[tuple[str, str, str], tuple[Any, ...]]:
        # paper money and the day's spend are shared by all markets: with more rows asked what is done differs, and
        # what a cascade stakes on an answer and whom selection asks with it; what is said does not
        kept = [
            row.number
            for row in found.played.rows
            if (row.at - START).total_seconds() <= until * 3600 and "planted" not in row.snapshot.market.question
        ]
        return {
            (track.name, found.played.rows[n].snapshot.market.question, found.played.rows[n].at.isoformat()): (
                *_numbers(track, n),
            )
            for track in found.tracks
            if track.name not in (Strategy.CASCADING, SELECTED)
            for n in kept
        }

    assert said_by(before) == said_by(after)


@given(flips=st.lists(st.booleans(), min_size=12, max_size=12), until=st.integers(30, 150))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outcomes_from_later_change_no_decision_before_by_any_strategy(
    tmp_path: Path, flips: list[bool], until: int
) -> None:
    def questions(is_flipped: bool) -> list[Question]:
        found = [*settled_before(8), *probes()]
        for i, flip in enumerate(flips):
            resolves = 41 + i * 10
            outcome = (i % 3 == 0) ^ (is_flipped and flip and resolves > until)
            rows = [
                Asked(hours, {"gpt-a": 0.2 + 0.05 * i, "claude-b": 0.75 - 0.04 * i, "grok-c": 0.5}, 0.4 + hours / 400)
                for hours in range(0, resolves, 30)
            ]
            found.append(Question(f"new{i}", outcome, resolves, rows, event=f"pair{i // 2}"))
        return found

    one, other = (walked(tmp_path / f"b{next(_FOLDERS)}", questions(it)) for it in (False, True))

    def is_before(found: Walk) -> Callable[[int], bool]:
        return lambda n: (found.played.rows[n].at - START).total_seconds() <= until * 3600

    assert what_was_said(one, is_before(one)) == what_was_said(other, is_before(other))


def test_no_question_costs_the_cascade_more_because_a_later_one_is_longer(tmp_path: Path) -> None:
    asked = [Question("short", resolves=90, rows=[said(0.7, 0.5)])]
    longer = [Question("x" * 900, resolves=400, opens=100, rows=[said(0.7, 0.5, hours=200)])]
    short, both = (walked(tmp_path / name, it).played.rows[0] for name, it in (("a", asked), ("b", [*asked, *longer])))
    assert short.worst_case_micro_usd == both.worst_case_micro_usd


# Rows


def test_forecasts_within_an_hour_are_one_row_with_the_later_word_of_each(tmp_path: Path) -> None:
    rows = [
        Asked(0, {"gpt-a": 0.2}),
        Asked(0.5, {"claude-b": 0.4}),
        Asked(0.9, {"gpt-a": 0.6}),
        Asked(1, {"gpt-a": 0.9, "claude-b": None}),
    ]
    found = walked(tmp_path / "a", [Question("q", rows=rows)])
    first, second = found.played.rows
    assert {it.model_id: it.p_yes for it in first.answers} == {"gpt-a": 0.6, "claude-b": 0.4}
    assert (first.at - START).total_seconds() == 0.9 * 3600
    assert ({it.model_id: it.p_yes for it in second.answers}, second.failed) == ({"gpt-a": 0.9}, ("claude-b",))


def test_price_is_the_newest_that_was_known_when_asked(tmp_path: Path) -> None:
    rows = [said(0.5), said(0.5, 0.3, hours=10), said(0.5, hours=20), said(0.5, 0.8, hours=30)]
    found = walked(tmp_path / "a", [Question("q", rows=rows)])
    assert [row.snapshot.quote.mid for row in found.played.rows] == [None, 0.3, 0.3, 0.8]


# Sums by hand


@pytest.fixture
def four(tmp_path: Path) -> Walk:
    """Four rows at one instant, before anything has settled."""
    rows: list[tuple[str, bool, dict[str, float | None], float | None]] = [
        ("q1", True, {"gpt-a": 0.8, "claude-b": 0.8, "grok-c": 0.8}, 0.5),
        ("q2", False, {"gpt-a": 0.1, "claude-b": 0.2, "grok-c": 0.6}, None),
        ("q3", False, {"gpt-a": 0.9, "claude-b": None, "grok-c": None}, 0.7),
        ("q4", True, {"gpt-a": None, "claude-b": None, "grok-c": 0.5}, None),
    ]
    return walked(
        tmp_path / "four", [Question(name, outcome, rows=[Asked(0, it, price)]) for name, outcome, it, price in rows]
    )


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def anchored(p: float, price: float) -> float:
    gap = log_odds(p) - log_odds(price)
    return sigmoid(log_odds(price) + 0.2 * gap / (1 + (gap / 2.5) ** 2))


def stretched(*members: float) -> float:
    """The log-odds of the pool of equally trusted members, written out (docs/math.md)."""
    z, k = [log_odds(p) for p in members], len(members)
    mean = sum(z) / k
    worth = k / (1 + (k - 1) * MEMBER_CORRELATION)
    factor = 3 * worth / (math.sqrt(3 * worth**2 - 3 * worth + 1) + 2)
    apart = (USUAL_SD_WEIGHT * USUAL_SD**2 + sum((it - mean) ** 2 for it in z)) / (USUAL_SD_WEIGHT + k - 1)
    return mean * factor * (1 + USUAL_SD**2 / 4) / (1 + apart / 4)


def test_report_of_four_rows_equals_the_sums_by_hand(four: Walk) -> None:
    found = report(four, Settings().ensemble)
    assert (found["archive"], found["questions"], found["rows"]) == ("four", 4, 4)
    brier = found["brier"]
    assert brier["plain_mean"] == pytest.approx((0.2**2 + 0.3**2 + 0.9**2 + 0.5**2) / 4)
    assert brier["median"] == pytest.approx((0.2**2 + 0.2**2 + 0.9**2 + 0.5**2) / 4)
    pooled = sigmoid((log_odds(0.1) + log_odds(0.2) + log_odds(0.6)) / 3)
    assert brier["log_odds_mean"] == pytest.approx((0.2**2 + pooled**2 + 0.9**2 + 0.5**2) / 4)
    assert brier["market"] == pytest.approx((0.5**2 + 0.7**2) / 2)
    by_member = {
        "gpt-a": (0.2**2 + 0.1**2 + 0.9**2) / 3,
        "claude-b": (0.2**2 + 0.2**2) / 2,
        "grok-c": (0.2**2 + 0.6**2 + 0.5**2) / 3,
    }
    assert brier["mean_of_members"] == pytest.approx(sum(by_member.values()) / 3)
    assert brier["best_member_in_hindsight"] == {"model": "claude-b", "brier": pytest.approx(0.04)}
    assert {name: it["brier"] for name, it in found["members"].items()} == pytest.approx(by_member)
    assert {name: (it["rows"], it["failed"]) for name, it in found["members"].items()} == {
        "gpt-a": (3, 1), "claude-b": (2, 2), "grok-c": (3, 1),
    }  # fmt: skip
    assert {name: it["mean_weight"] for name, it in found["members"].items()} == pytest.approx(
        {"gpt-a": (2 / 3 + 1) / 4, "claude-b": (2 / 3) / 4, "grok-c": (2 / 3 + 1) / 4}
    )
    # eight answers of a tenth of a cent; the failed calls cost nothing
    assert found["cost_usd"] == pytest.approx(0.008)


def test_ensemble_of_four_rows_equals_the_sums_by_hand(four: Walk) -> None:
    own, found = four.tracks[0], report(four, Settings().ensemble)
    unanimous, split = sigmoid(stretched(0.8, 0.8, 0.8)), sigmoid(stretched(0.1, 0.2, 0.6))
    for name, p in {"q1": unanimous, "q2": split, "q3": 0.9, "q4": 0.5}.items():
        [row] = rows_at(four, name)
        assert own.p_pooled[row] == pytest.approx(p)
        assert own.p_calibrated[row] == pytest.approx(p)
    final = {"q1": anchored(unanimous, 0.5), "q3": anchored(0.9, 0.7), "q4": 0.5, "q2": split}
    for name, p in final.items():
        assert own.p_final[rows_at(four, name)[0]] == pytest.approx(p)
    errors = {"q1": 1 - final["q1"], "q2": split, "q3": final["q3"], "q4": 0.5}
    assert found["brier"]["ensemble"] == pytest.approx(sum(it**2 for it in errors.values()) / 4)
    without = ((1 - unanimous) ** 2 + split**2 + 0.81 + 0.25) / 4
    assert found["brier"]["ensemble_without_market"] == pytest.approx(without)
    assert found["on_market_rows"] == {
        "rows": 2,
        "ensemble": pytest.approx((errors["q1"] ** 2 + errors["q3"] ** 2) / 2),
        "ensemble_without_market": pytest.approx(((1 - unanimous) ** 2 + 0.81) / 2),
        "market": pytest.approx(0.37),
    }
    gap = [errors["q1"] ** 2 - 0.04, split**2 - 0.09, errors["q3"] ** 2 - 0.81, 0.0]
    difference = found["differences"]["ensemble_minus_plain_mean"]
    assert (difference["estimate"], difference["rows"], difference["events"]) == (pytest.approx(sum(gap) / 4), 4, 4)
    assert min(gap) <= difference["ci95"][0] <= difference["estimate"] <= difference["ci95"][1] <= max(gap)
    market = found["differences"]["ensemble_minus_market"]
    assert market["estimate"] == pytest.approx((errors["q1"] ** 2 - 0.25 + errors["q3"] ** 2 - 0.49) / 2)
    assert market["rows"] == 2


def test_log_loss_of_four_rows_equals_the_sums_by_hand(four: Walk) -> None:
    loss = report(four, Settings().ensemble)["log_loss"]
    assert set(loss) == SCORES
    assert loss["plain_mean"] == pytest.approx(-sum(map(math.log, (0.8, 0.7, 0.1, 0.5))) / 4)
    assert loss["market"] == pytest.approx(-(math.log(0.5) + math.log(0.3)) / 2)
    assert loss["best_member_in_hindsight"] == {
        "model": "claude-b", "log_loss": pytest.approx(-(math.log(0.8) + math.log(0.8)) / 2),
    }  # fmt: skip


def test_every_strategy_is_told_with_what_it_did_and_cost(four: Walk) -> None:
    found = report(four, Settings().ensemble)
    assert next(iter(found["strategies"])) == "weighted_voting"
    assert set(found["strategies"]) == {*map(str, Strategy), SELECTED}
    for name, it in found["strategies"].items():
        assert it["decided"] + it["skipped"] == 4
        assert sum(it["terminal_reasons"].values()) == 4
        assert it["cost_usd"] <= 0.008 + 1e-12
        assert it["cost_per_decision_usd"] == pytest.approx(it["cost_usd"] / 4)
        assert it["rows"] == 4
        if name not in ("cascading", SELECTED):
            assert it["cost_usd"] == pytest.approx(0.008)
    assert found["strategies"]["weighted_voting"]["brier"] == found["brier"]["ensemble"]


def test_strategy_that_is_switched_off_is_not_walked(tmp_path: Path) -> None:
    options = Settings.model_validate({"methods": {"cascading": False}, "ensemble": {"strategy": "consensus"}})
    found = walked(tmp_path / "a", [Question("q", rows=[said(0.6)])], options)
    assert [track.name for track in found.tracks] == [
        Strategy.CONSENSUS, Strategy.WEIGHTED_VOTING, Strategy.CONFIDENCE_BASED, Strategy.UNCERTAINTY_AWARE, SELECTED,
    ]  # fmt: skip


def selecting(**ensemble: Any) -> Settings:
    """Two members are chosen for each market, and nobody else is asked."""
    return Settings.model_validate({"ensemble": {"max_members": 2, "exploration_share": 0, **ensemble}})


def test_selected_members_are_those_that_production_would_ask_and_pay(tmp_path: Path) -> None:
    questions = [*settled_before(30), Question("q", rows=[said(0.6, 0.5, hours=50)], resolves=300)]
    found = walked(tmp_path / "a", questions, selecting())
    track, first = found.tracks[-1], found.tracks[0]
    assert track.name == SELECTED
    [row] = rows_at(found, "q")
    # claude-b knows most, then gpt-a; grok-c, which knows nothing, costs the same
    assert {MODELS[i] for i in np.flatnonzero(track.weight[row])} == {"claude-b", "gpt-a"}
    assert {MODELS[i] for i in np.flatnonzero(first.weight[row])} <= set(MODELS)
    assert (track.cost_micro_usd[row], first.cost_micro_usd[row]) == (2_000, 3_000)
    told = report(found, Settings().ensemble)
    gap = told["strategy_differences"][SELECTED]["brier_without_market"]
    errors = [np.square(it.p_calibrated - found.codes.outcome) for it in (track, first)]
    assert gap["rows"] == 31
    assert gap["estimate"] == pytest.approx(np.mean(errors[0] - errors[1]))


def test_selected_member_that_failed_is_replaced_by_the_next(tmp_path: Path) -> None:
    last = Asked(50, {"claude-b": None, "gpt-a": 0.7, "grok-c": 0.2}, 0.5)
    found = walked(tmp_path / "a", [*settled_before(30), Question("q", rows=[last], resolves=300)], selecting())
    [row] = rows_at(found, "q")
    track = found.tracks[-1]
    assert {MODELS[i] for i in np.flatnonzero(track.weight[row])} == {"gpt-a", "grok-c"}
    assert track.cost_micro_usd[row] == 2_000


def test_small_trade_values_ask_one_member_alone(tmp_path: Path) -> None:
    options = selecting(cascade_single_below_usd=1_000, cascade_enhanced_above_usd=2_000)
    found = walked(tmp_path / "a", [*settled_before(30), Question("q", rows=[said(0.6, 0.5, hours=50)])], options)
    [row] = rows_at(found, "q")
    assert np.count_nonzero(found.tracks[-1].weight[row]) == 1
    assert found.tracks[-1].cost_micro_usd[row] == 1_000


def test_market_before_which_a_gate_asks_nobody_is_not_scored_for_selected_members(tmp_path: Path) -> None:
    options = Settings.model_validate({"gates": {"excluded_categories": ["sport"]}})
    questions = [Question("a", rows=[said(0.6)], category="sport"), Question("b", rows=[said(0.7)])]
    found = walked(tmp_path / "a", questions, options)
    told = report(found, options.ensemble)["strategies"]
    assert (told["weighted_voting"]["rows"], told[SELECTED]["rows"]) == (2, 1)
    assert found.tracks[-1].cost_micro_usd[rows_at(found, "a")[0]] == 0


def test_prices_of_a_list_take_the_place_of_what_calls_are_published_to_cost(tmp_path: Path) -> None:
    archive = read_archive(write_questions(tmp_path / "a", [Question("q", rows=[said(0.6)])]))
    prices = {"gpt": (Decimal(0), Decimal(0)), "claude": (Decimal(10), Decimal(50))}
    [row] = played(archive, prices).rows
    # 1,000 tokens in and 200 out
    assert row.cost_micro_usd == {"claude-b": 1_000 * 10 + 200 * 50, "gpt-a": 0, "grok-c": 1_000}
    assert row.worst_case_micro_usd["gpt-a"] == 0
    [before] = played(archive).rows
    assert row.worst_case_micro_usd["claude-b"] > before.worst_case_micro_usd["claude-b"]


def test_command_takes_a_price_list_and_refuses_one_that_is_none(tmp_path: Path) -> None:
    archive = write_questions(tmp_path / "a", [Question("q", rows=[said(0.6)])])
    prices = tmp_path / "prices.json"
    prices.write_text('{"": [0, 0]}')
    assert backtest(tmp_path / "report.json", archive, prices=prices).exit_code == 0
    [found] = json.loads((tmp_path / "report.json").read_text())
    assert found["cost_usd"] == 0
    prices.write_text('{"gpt": [1]}')
    done = backtest(tmp_path / "other.json", archive, prices=prices)
    assert isinstance(done.exception, ArchiveError)
    assert not (tmp_path / "other.json").exists()


def test_what_calls_had_cost_is_summed_by_model_and_category_and_knows_nothing_later(tmp_path: Path) -> None:
    rows = [Asked(h, {"claude-b": 0.6, "gpt-a": None if h == 2 else 0.5}) for h in (0, 2, 31 * 24)]
    questions = [
        Question("a", rows=rows, resolves=9000),
        Question("b", rows=[Asked(3, {"grok-c": 0.5})], category="sport", resolves=9000),
    ]
    found = walked(tmp_path / "a", questions)
    costs = Costs(found.played.rows, found.codes, MODELS)

    def at_hour(hour: float) -> dict[tuple[str, str], tuple[int, int, int]]:
        lines = costs.known_by(START + timedelta(hours=hour))
        return {(it["model_id"], it["category"]): (it["calls"], it["answers"], it["cost_micro_usd"]) for it in lines}

    assert at_hour(0) == {}
    assert at_hour(2.5) == {("claude-b", "weather"): (2, 2, 2_000), ("gpt-a", "weather"): (2, 1, 1_000)}
    assert at_hour(4)[("grok-c", "sport")] == (1, 1, 1_000)
    # thirty days later only what was asked since
    assert at_hour(31 * 24 + 1) == {("claude-b", "weather"): (1, 1, 1_000), ("gpt-a", "weather"): (1, 1, 1_000)}
    [line] = [it for it in costs.known_by(START + timedelta(hours=2.5)) if it["model_id"] == "claude-b"]
    assert (line["cost_squared"], line["cost_of_answered"]) == (2_000_000, 2_000)
    assert line["reserved_micro_usd"] == sum(row.worst_case_micro_usd["claude-b"] for row in found.played.rows[:2])


def test_paper_money_of_a_trade_that_wins_follows_by_hand(tmp_path: Path) -> None:
    options = Settings.model_validate({"ensemble": {"market_weight": 0.5}})
    won = Question("won", True, rows=[said(0.8, 0.41)])
    found = report(walked(tmp_path / "a", [won], options), options.ensemble)["strategies"]["weighted_voting"]
    assert (found["decided"], found["terminal_reasons"]) == (1, {"traded": 1})
    paper = found["paper"]
    contracts = paper["staked_usd"] / 0.42
    assert contracts == pytest.approx(round(contracts))
    assert paper["net_profit_usd"] == pytest.approx(contracts - paper["staked_usd"] - paper["fees_usd"])
    assert (paper["trades"], paper["open_positions"]) == (1, 0)
    lost = report(walked(tmp_path / "b", [replace(won, outcome=False)], options), options.ensemble)
    paper = lost["strategies"]["weighted_voting"]["paper"]
    assert paper["net_profit_usd"] == pytest.approx(-paper["staked_usd"] - paper["fees_usd"])


# The command


def test_command_writes_the_report_and_the_page_without_any_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a backtest asks nobody")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    one = write_questions(tmp_path / "one", [*settled_before(6), Question("q", rows=[said(0.7, 0.5, hours=30)])])
    two = write_questions(tmp_path / "two", settled_before(4))
    done = backtest(tmp_path / "report.json", one, two)
    assert (done.exit_code, done.exception) == (0, None)
    first, second = json.loads((tmp_path / "report.json").read_text())
    assert (first["archive"], second["archive"]) == ("one", "two")
    assert "one: 7 rows, Brier" in done.output
    assert (tmp_path / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert (first["rows"], second["rows"]) == (7, 4)


def test_report_has_the_keys_that_readers_rely_on(tmp_path: Path) -> None:
    archive = write_questions(tmp_path / "one", [*settled_before(6), Question("q", rows=[said(0.7, 0.5, hours=30)])])
    assert backtest(tmp_path / "report.json", archive).exit_code == 0
    [found] = json.loads((tmp_path / "report.json").read_text())
    assert {
        "archive", "questions", "rows", "brier", "on_market_rows", "log_loss", "strategies", "differences", "members",
        "cost_usd",
    } <= set(found)  # fmt: skip
    assert SCORES == set(found["brier"]) == set(found["log_loss"])
    assert set(found["brier"]["best_member_in_hindsight"]) == {"model", "brier"}
    assert set(found["on_market_rows"]) == {"rows", "ensemble", "ensemble_without_market", "market"}
    assert set(found["strategies"]) == {*map(str, Strategy), SELECTED}
    assert set(found["strategy_differences"]) == set(found["strategies"]) - {"weighted_voting"}
    for it in found["strategies"].values():
        assert {"brier", "decided", "skipped", "cost_usd"} <= set(it)
    for name in ("ensemble_minus_plain_mean", "ensemble_minus_market"):
        assert {"estimate", "ci95"} <= set(found["differences"][name])
        low, high = found["differences"][name]["ci95"]
        assert low <= found["differences"][name]["estimate"] <= high
    assert set(found["members"]) == set(MODELS)
    for it in found["members"].values():
        assert {"brier", "rows", "failed", "mean_weight"} <= set(it)


def test_archive_without_any_price_tells_none_instead_of_zero(tmp_path: Path) -> None:
    archive = write_questions(tmp_path / "one", [Question("q", rows=[said(0.7)])])
    assert backtest(tmp_path / "report.json", archive).exit_code == 0
    [found] = json.loads((tmp_path / "report.json").read_text())
    assert found["brier"]["market"] is None
    assert found["on_market_rows"] == {
        "rows": 0, "ensemble": None, "ensemble_without_market": None, "market": None,
    }  # fmt: skip
    assert found["differences"]["ensemble_minus_market"] == {"estimate": None, "ci95": None, "rows": 0, "events": 0}


def test_archive_where_every_call_failed_is_told_without_a_number(tmp_path: Path) -> None:
    archive = write_questions(tmp_path / "one", [Question("q", rows=[Asked(0, {"gpt-a": None})])])
    done = backtest(tmp_path / "report.json", archive)
    assert (done.exit_code, done.exception) == (0, None)
    [found] = json.loads((tmp_path / "report.json").read_text())
    assert "one: no row to score" in done.output
    assert (found["rows"], found["brier"]["ensemble"], found["members"]["gpt-a"]["failed"]) == (0, None, 1)


def test_report_is_the_same_each_time(tmp_path: Path) -> None:
    archive = write_questions(tmp_path / "one", settled_before(6))
    for name in ("a.json", "b.json"):
        backtest(tmp_path / name, archive)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def without_column(folder: Path) -> None:
    write_archive(folder, [QUESTION], [FORECAST], [PRICE])
    write_file(
        folder / "forecasts.csv.gz", [FORECAST_COLUMNS.replace(",probability", ""), FORECAST.replace(",0.7", "")]
    )


BAD: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing column": (without_column, (r"forecasts\.csv\.gz, line 1", "column probability is missing")),
    "duplicate forecast": (
        lambda folder: write_archive(folder, [QUESTION], [FORECAST, FORECAST]),
        (r"forecasts\.csv\.gz, line 3", "repeats line 2"),
    ),
    "forecast after its resolution": (
        lambda folder: write_archive(folder, [QUESTION], [FORECAST.replace("2025-08-01", "2025-08-07")]),
        ("forecasts of q1 were asked at 2025-08-07T00:00:00", "after it resolved at 2025-08-06T00:00:00"),
    ),
    "forecast at its resolution": (
        lambda folder: write_archive(folder, [QUESTION], [FORECAST.replace("2025-08-01", "2025-08-06")]),
        ("forecasts of q1", "after it resolved"),
    ),
    "no forecasts": (lambda folder: write_archive(folder, [QUESTION], [], [PRICE]), ("bad holds no forecasts",)),
    "no file of forecasts": (
        lambda folder: write_archive(folder, [QUESTION], None, [PRICE]),
        ("bad holds no forecasts",),
    ),
    "no folder": (lambda _: None, (r"bad/questions\.csv\.gz is missing",)),
    "probability in per cent": (
        lambda folder: write_archive(folder, [QUESTION], [FORECAST.replace("0.7", "70")]),
        (r"forecasts\.csv\.gz, line 2, column probability: '70'",),
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_archive_that_cannot_be_walked_is_named_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    make, words = BAD[what]
    make(tmp_path / "bad")
    good = write_archive(tmp_path / "good", [QUESTION], [FORECAST], [PRICE])
    before = sorted(tmp_path.iterdir())
    # after a good one, so that there would be something to write
    done = backtest(tmp_path / "report.json", good, tmp_path / "bad")
    assert done.exit_code == 1
    assert isinstance(done.exception, ArchiveError)
    for word in words:
        with pytest.raises(ArchiveError, match=word):
            raise done.exception
    assert sorted(tmp_path.iterdir()) == before


def test_archive_named_twice_is_refused_by_its_path(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "one", [QUESTION], [FORECAST], [PRICE])
    done = backtest(tmp_path / "report.json", archive, tmp_path / "." / "one")
    assert (done.exit_code, type(done.exception)) == (1, ArchiveError)
    assert str(done.exception) == f"named twice: {archive}; name each archive once"
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [("nowhere/report.json", "there is no folder"), ("page.html", "where the page goes"), ("/dev/full", "No space")],
)
def test_report_that_cannot_be_written_is_named(tmp_path: Path, name: str, why: str) -> None:
    archive = write_archive(tmp_path / "one", [QUESTION], [FORECAST], [PRICE])
    done = backtest(tmp_path / name, archive)
    assert (done.exit_code, type(done.exception)) == (1, ArchiveError)
    assert why in str(done.exception)
    assert name in str(done.exception)
    assert sorted(tmp_path.iterdir()) == [archive]


def test_real_command_refuses_in_one_message_and_walks_in_one_line(tmp_path: Path) -> None:
    archive = write_questions(tmp_path / "one", settled_before(4))
    done = run(tmp_path, "backtest", "--archive", str(archive), "--report", str(tmp_path / "report.json"))
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0].startswith("one: 4 rows, Brier ")
    bad = write_archive(tmp_path / "bad", [QUESTION], [])
    refused = run(tmp_path, "backtest", "--archive", str(bad), "--report", str(tmp_path / "other.json"))
    assert refused.status == 1
    assert_one_message(refused, "archive bad holds no forecasts; there is nothing to test")
    assert not (tmp_path / "other.json").exists()


@pytest.mark.slow
def test_memory_grows_no_faster_than_the_archive(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        old = [replace(it, resolves=24 + 24 * (i % 4)) for i, it in enumerate(settled_before(n))]
        archive = read_archive(write_questions(tmp_path / f"m{n}", old))
        tracemalloc.start()
        walk(played(archive), Settings())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # what is made on first use is no part of either
    peak(30)
    assert peak(160) <= 2.3 * peak(80)


def test_columns_of_a_track_have_one_entry_a_row(four: Walk) -> None:
    for track in four.tracks:
        assert {len(it) for it in (track.p_pooled, track.p_calibrated, track.p_final, track.is_trade)} == {4}
        assert track.weight.shape == (4, 3)
        assert np.all((track.weight >= 0) & (track.weight <= 1))


def test_calls_repeated_within_the_hour_are_all_paid_for_and_the_last_readable_answer_counts(tmp_path: Path) -> None:
    model = MODELS[0]
    rows = [Asked(0, {model: 0.3}), Asked(0.2, {model: 0.7}), Asked(0.4, {model: None})]
    archive = write_questions(tmp_path / "thrice", [Question("q", rows=rows)])
    [row] = played(read_archive(archive)).rows
    # 1,000 micro-dollars a call; the one that failed published no cost
    assert (row.cost_micro_usd[model], row.failed) == (2_000, ())
    assert [it.p_yes for it in row.answers] == [0.7]


def test_rows_refused_before_anyone_is_asked_are_scored_and_cost_nothing(tmp_path: Path) -> None:
    questions = [Question(f"q{i}", resolves=96 + i, rows=[said(0.6, 0.5, i)]) for i in range(8)]
    spend_little = Settings.model_validate({"budget": {"day_soft_usd": "0.004"}})
    found = report(walked(tmp_path / "dear", questions, spend_little), spend_little.ensemble)
    weighted = found["strategies"]["weighted_voting"]
    # 3 calls of $0.001 a row: two rows pass the soft limit, the rest of the day is refused
    assert weighted["terminal_reasons"]["daily_budget"] == 6
    assert weighted["cost_usd"] == pytest.approx(0.006)
    assert found["rows"] == 8


def test_model_name_longer_than_a_member_may_have_is_refused_with_its_line(tmp_path: Path) -> None:
    long = FORECAST.replace(FORECAST.split(",")[1], "m" * 121)
    archive = write_archive(tmp_path / "long", [QUESTION], [long], [PRICE])
    with pytest.raises(ArchiveError, match=r"line 2, column model: .*longer than 120"):
        read_archive(archive)
