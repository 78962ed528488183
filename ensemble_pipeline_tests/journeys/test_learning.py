"""What the system learns in worlds whose truth is known."""

import math
from typing import Any

import pytest

from ensemble_pipeline_tests.journeys.running import data_folder, play


@pytest.mark.slow
def test_wide_world_played_by_all_members_learns_whom_to_trust() -> None:
    # many markets at once are much evidence in few steps: six models on some 70 settled markets
    with data_folder() as folder:
        report = play(folder, "--days", "4", "--markets-per-day", "20", "--members", "all")
    ranking, order = report["ranking"]["rows"], report["truth"]["skill_order"]
    names = [row["model_id"] for row in ranking]
    assert (names[0], names[-1]) == (order[0], order[-1])
    assert _certain_mistakes(ranking, order) == []
    assert ranking[0]["weight"] > 1 / len(order) > ranking[-1]["weight"]
    brier = report["brier"]["all"]
    assert brier["ensemble_without_market"] < brier["plain_mean"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("policy", ["all", "selected"])
def test_default_world_ranks_the_models_by_their_true_skill_and_beats_the_plain_mean(policy: str) -> None:
    with data_folder() as folder:
        report = play(folder, "--members", policy, timeout_s=1400)
    assert [row["model_id"] for row in report["ranking"]["rows"]] == report["truth"]["skill_order"]
    assert report["brier"]["all"]["ensemble_without_market"] < report["brier"]["all"]["plain_mean"]
    assert report["played"]["failed_runs"] == 0


def _certain_mistakes(ranking: list[dict[str, Any]], order: list[str]) -> list[tuple[str, str]]:
    """Pairs that the ranking puts the wrong way round by more than twice the standard error of their difference."""
    return [
        (better["model_id"], worse["model_id"])
        for place, better in enumerate(ranking)
        for worse in ranking[place + 1 :]
        if order.index(better["model_id"]) > order.index(worse["model_id"])
        and worse["skill"] - better["skill"] > 2 * math.hypot(worse["standard_error"], better["standard_error"])
    ]
