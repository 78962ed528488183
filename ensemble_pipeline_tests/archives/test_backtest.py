"""Backtests against the real pipeline on the same archive, and what they reach on the real ones."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ensemble_pipeline.cli import cli
from ensemble_pipeline_tests.archives.test_played import folder_of
from ensemble_pipeline_tests.journeys.running import data_folder, peek, play, postgres_of
from ensemble_pipeline_tests.replay.small_questions import MODELS, Asked, Question, walked

_TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the command writes about each real archive."""
    names = ("forecastbench_llm_2025", "metaculus_q2_2025", "polymarket_live_2025")
    target = tmp_path_factory.mktemp("backtest") / "report.json"
    named = [text for name in names for text in ("--archive", str(folder_of(name)))]
    done = CliRunner().invoke(cli, ["backtest", *named, "--report", str(target)], catch_exceptions=False)
    assert done.exit_code == 0
    assert target.with_suffix(".html").stat().st_size > 10_000
    return {it["archive"]: it for it in json.loads(target.read_text())}


def test_forecastbench_beats_its_best_pool_without_the_price_and_the_market_with_it(
    reports: dict[str, dict[str, Any]],
) -> None:
    found = reports["forecastbench_llm_2025"]
    assert (found["questions"], found["rows"]) == (398, 398)
    assert found["brier"]["ensemble_without_market"] <= 0.1093
    assert found["on_market_rows"]["rows"] == 100
    assert found["on_market_rows"]["ensemble"] <= found["on_market_rows"]["market"]


def test_metaculus_without_prices_is_pooled_no_worse_than_demanded(reports: dict[str, dict[str, Any]]) -> None:
    found = reports["metaculus_q2_2025"]
    assert found["rows"] == 202
    assert found["brier"]["ensemble_without_market"] <= 0.1570
    assert found["brier"]["ensemble"] == found["brier"]["ensemble_without_market"]
    assert found["brier"]["market"] is None


def test_polymarket_beats_its_plain_mean_without_the_price_and_the_market_with_it(
    reports: dict[str, dict[str, Any]],
) -> None:
    found = reports["polymarket_live_2025"]
    assert (found["rows"], sum(it["failed"] for it in found["members"].values())) == (1272, 1165)
    assert found["brier"]["ensemble_without_market"] <= 0.1167
    assert found["on_market_rows"]["ensemble"] <= found["on_market_rows"]["market"]


def test_intervals_of_the_real_archives_hold_their_estimates(reports: dict[str, dict[str, Any]]) -> None:
    for found in reports.values():
        for difference in found["differences"].values():
            if difference["estimate"] is not None:
                low, high = difference["ci95"]
                assert low <= difference["estimate"] <= high


def test_costs_of_the_real_archives_are_what_their_members_cost(reports: dict[str, dict[str, Any]]) -> None:
    for found in reports.values():
        own = next(iter(found["strategies"].values()))
        assert found["cost_usd"] == own["cost_usd"] > 0
        assert found["strategies"]["cascading"]["cost_usd"] < found["cost_usd"]


def drawn(groups: int, group: int, *, every_h: float, life_h: float, seed: int = 3) -> list[Question]:
    """Questions asked and asked again in groups, two of an event, some priced; every tenth call fails."""
    draw = random.Random(seed)  # noqa: S311 - a seeded archive
    found = []
    for i in range(groups * group):
        opens, outcome = every_h * (i // group), draw.random() < 0.5
        rows = [
            Asked(opens + again * life_h / 2, _answers(draw, outcome), None if i % 3 == 0 else _price(draw, outcome))
            for again in range(2)
        ]
        found.append(
            Question(f"q{i}", outcome, opens + life_h, rows, f"event{i // 2}", ("weather", "sport")[i % 2], opens)
        )
    return found


def _answers(draw: random.Random, outcome: bool) -> dict[str, float | None]:
    said: dict[str, float | None] = {}
    for model, skill in zip(MODELS, (0.65, 0.8, 0.5), strict=True):
        p = min(0.97, max(0.03, (skill if outcome else 1 - skill) + draw.uniform(-0.15, 0.15)))
        said[model] = None if draw.random() < 0.1 else round(p, 3)
    return said


def _price(draw: random.Random, outcome: bool) -> float:
    return round((0.58 if outcome else 0.42) + draw.uniform(-0.1, 0.1), 2)


def assert_pipeline_says_the_same(folder: Path, questions: Sequence[Question]) -> int:
    """Play the archive through the pipeline; returns how many decisions were told apart from plain pooling."""
    found = walked(folder, questions)
    own = found.tracks[0]
    walked_to = {(row.snapshot.market.ticker, row.at): row.number for row in found.played.rows}
    with data_folder() as home:
        play(home, "--archive", str(folder), "--members", "all", timeout_s=280)
        with postgres_of(home):
            rows = peek(
                home,
                "select m.ticker, d.decided_at, d.p_pooled, d.p_calibrated, d.p_final, d.market_weight, c.n,"
                " (select jsonb_object_agg(o.model_id, o.weight) from decision_members o"
                " where o.decision_id = d.decision_id and o.p_yes is not null) as weights"
                " from decisions d join markets m using (market_id) join calibration_tables c using (calibration_id)",
            )
    assert {(row["ticker"], row["decided_at"]) for row in rows} == set(walked_to)
    for row in rows:
        number = walked_to[row["ticker"], row["decided_at"]]
        for name in ("p_pooled", "p_calibrated", "p_final"):
            said = float(getattr(own, name)[number])
            if row[name] is None:
                assert math.isnan(said)
            else:
                assert said == pytest.approx(row[name], abs=_TOLERANCE), (row["ticker"], name)
        for model, weight in (row["weights"] or {}).items():
            place = [member.name for member in found.played.members].index(model)
            assert own.weight[number][place] == pytest.approx(weight, abs=_TOLERANCE)
    return sum(row["n"] > 0 and row["p_calibrated"] != row["p_pooled"] for row in rows)


@pytest.mark.slow
def test_backtest_says_what_the_pipeline_said_on_the_same_archive(tmp_path: Path) -> None:
    questions = drawn(2, 7, every_h=36, life_h=24)
    assert assert_pipeline_says_the_same(tmp_path / "archive", questions) > 8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_backtest_says_what_the_pipeline_said_while_settlements_and_questions_overlap(tmp_path: Path) -> None:
    questions = drawn(15, 2, every_h=12, life_h=40)
    assert assert_pipeline_says_the_same(tmp_path / "archive", questions) > 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_backtest_forgets_as_the_pipeline_does_what_left_the_longest_window(tmp_path: Path) -> None:
    days = 24
    asked = [
        Question(f"late{i}", bool(i % 2), 90 * days, [Asked(hours, dict.fromkeys(MODELS, 0.3) | {"gpt-a": 0.8}, 0.5)],
                 opens=hours)
        for i, hours in enumerate((3 * days, 20 * days, 31 * days, 40 * days))
    ]  # fmt: skip
    assert_pipeline_says_the_same(tmp_path / "archive", [*drawn(1, 12, every_h=1, life_h=24), *asked])
