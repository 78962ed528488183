"""The page of a backtest, read back as a browser reads it; it says what is known, and no more."""

import re
from copy import deepcopy
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from ensemble_pipeline.domain import Reason, Strategy
from ensemble_pipeline.forecasting.scoring import brier_score
from ensemble_pipeline.pipeline.backtest_page import backtest_page
from ensemble_pipeline.pipeline.backtest_words import paper_sentence, why_skipped
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.backtest.rows import played
from ensemble_pipeline.replay.backtest.scores import report, scored
from ensemble_pipeline.replay.backtest.walk import Walk, walk
from ensemble_pipeline.settings import Settings
from ensemble_pipeline_tests.replay.small_archive import write_archive

HOSTILE = '<script>alert("1")</script>'
MODELS = ("gpt-x", "claude-y", HOSTILE)
VOID = {"meta"}
SETTINGS = Settings()
Backtest = tuple[Walk, dict[str, Any]]


def day(n: int) -> str:
    return (datetime(2025, 8, 1) + timedelta(days=n)).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ001


def quoted(words: str) -> str:
    return '"' + words.replace('"', '""') + '"'


def backtest(folder: Path, questions: int = 24, *, has_prices: bool = True, events: int = 24) -> Backtest:
    asked = [
        f"q{n},e{n % events},Rain on day {n}?,weather,somewhere,{day(n)},{day(n + 3)},{day(n + 2)},{n % 3 == 0:d}"
        for n in range(questions)
    ]
    said = [
        f"q{n},{quoted(model)},{day(n)},{0.3 + 0.2 * k + 0.2 * (n % 3 == 0)},0.001,900,1000,200"
        for n in range(questions)
        for k, model in enumerate(MODELS)
    ]
    prices = [f"q{n},{day(n)},0.35,0.34,0.36,12000" for n in range(questions // 2 - 1)]
    archive = read_archive(write_archive(folder, asked, said, prices if has_prices else None))
    walked = walk(played(archive), SETTINGS)
    return walked, report(walked, SETTINGS.ensemble)


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    return backtest(tmp_path_factory.mktemp("weather_2025"))


@pytest.fixture(scope="module")
def unpriced(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    return backtest(tmp_path_factory.mktemp("unpriced"), has_prices=False)


class Reader(HTMLParser):
    """What stands in each cell and sentence, and whether each tag that opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "style", "onload"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(*backtests: Backtest) -> str:
    return backtest_page(backtests, SETTINGS.ensemble)


def words_of(page: str) -> str:
    return "\n".join(Reader(page).words)


def svgs(page: str) -> list[ET.Element]:
    return [ET.fromstring(each) for each in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314


def with_difference(it: Backtest, name: str, ci95: list[float] | None, events: int = 40) -> Backtest:
    told = deepcopy(it[1])
    estimate = 0.0131 if ci95 and ci95[0] > 0 else -0.0131
    told["differences"][name] = {"estimate": estimate, "ci95": ci95, "rows": 80, "events": events}
    return it[0], told


def test_the_page_is_one_well_formed_document_that_loads_nothing_and_runs_nothing(priced: Backtest) -> None:
    page = page_of(priced)
    read = Reader(page)
    assert page.startswith("<!doctype html>")
    assert read.open == []
    assert read.addresses == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(read.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_every_strategy_and_member_is_named_and_every_picture_is_well_formed(priced: Backtest) -> None:
    page = page_of(priced)
    words = words_of(page)
    assert [name for name in (*MODELS, *(each.replace("_", " ") for each in Strategy)) if name not in words] == []
    titles = [svg[0].text or "" for svg in svgs(page)]
    assert [title.split()[0] for title in titles] == ["Differences"] * 2 + ["Reliability"] * 3 + ["Weights"]
    assert not re.search(r">\s*[−+]?(nan|inf)", page, re.IGNORECASE)


def test_names_from_archives_are_text_whatever_they_contain(priced: Backtest) -> None:
    told = deepcopy(priced[1])
    told["archive"] = "<b>\x00&\ud800"
    page = page_of((priced[0], told), priced)
    assert "<script" not in page
    assert HOSTILE in words_of(page)
    assert "<b>" not in page
    page.encode()


def test_two_archives_begin_with_an_overview_that_leads_to_each(priced: Backtest, unpriced: Backtest) -> None:
    page = page_of(priced, unpriced)
    assert Reader(page).addresses == ["#archive-1", "#archive-2"]
    assert page.count('id="archive-') == 2
    assert "no prices" in words_of(page)


@pytest.mark.parametrize(
    ("ci95", "sentence"),
    [
        ([-0.0171, -0.0092], "was better than the plain mean by 0.0131 Brier points (95% interval 0.0092 to 0.0171;"),
        ([0.0092, 0.0171], "was worse than the plain mean by 0.0131 Brier points (95% interval 0.0092 to 0.0171;"),
        (
            [-0.0171, 0.0],
            "cannot be told apart from the plain mean (difference −0.0131, 95% interval −0.0171 to 0.0000",
        ),
        (None, "cannot be compared with the plain mean: too few events for an interval (80 rows of 40 events;"),
    ],
    ids=["better", "worse", "tied", "too few"],
)
def test_the_sentence_says_what_the_interval_shows(priced: Backtest, ci95: list[float] | None, sentence: str) -> None:
    page = page_of(with_difference(priced, "ensemble_without_market_minus_plain_mean", ci95))
    assert f"Without the price the ensemble {sentence}" in words_of(page)


def test_with_the_price_the_ensemble_is_held_against_the_market(priced: Backtest) -> None:
    words = words_of(page_of(with_difference(priced, "ensemble_minus_market", [0.001, 0.02])))
    assert "With the price the ensemble was worse than the market by 0.0131" in words


@pytest.mark.parametrize(("events", "is_thin"), [(19, True), (20, False)])
def test_an_interval_from_few_events_is_called_too_narrow(
    priced: Backtest, unpriced: Backtest, events: int, is_thin: bool
) -> None:
    doctored = with_difference(priced, "ensemble_minus_market", [-0.02, -0.01], events)
    words = words_of(page_of(doctored, unpriced))
    assert ("From fewer than 20 events an interval is too narrow." in words) == is_thin
    assert ("better by 0.0131 (few events)" in words) == is_thin


def test_an_archive_without_prices_says_so_and_claims_nothing_about_the_market(unpriced: Backtest) -> None:
    page = page_of(unpriced)
    assert "The archive holds no prices: nothing can be said about the market" in words_of(page)
    assert "ensemble with the price" not in words_of(page)
    assert len(svgs(page)) == 3


def test_a_single_event_is_too_few(tmp_path: Path) -> None:
    page = page_of(backtest(tmp_path, events=1))
    assert "cannot be compared with the plain mean: too few events for an interval" in words_of(page)
    assert "too few events" in (svgs(page)[0][0].text or "")


def test_a_single_question_shows_no_weights_over_time(tmp_path: Path) -> None:
    assert "no weight could change" in words_of(page_of(backtest(tmp_path, questions=1)))


def test_where_nothing_has_resolved_there_is_nothing_to_score(tmp_path: Path) -> None:
    asked = [f"q1,,Will it rain?,weather,somewhere,{day(0)},{day(3)},,"]
    walked = walk(played(read_archive(write_archive(tmp_path, asked, [f"q1,m,{day(1)},0.7,,,,"]))), SETTINGS)
    words = words_of(page_of((walked, report(walked, SETTINGS.ensemble))))
    assert "there is nothing to score" in words
    assert "Nothing has resolved that could be shown." in words


def test_the_scores_beside_the_market_are_on_its_own_rows(priced: Backtest) -> None:
    rows = scored(priced[0], SETTINGS.ensemble)
    keep = ~np.isnan(rows.said["market"])
    mean = brier_score(rows.said["plain_mean"][keep], rows.outcome[keep]).mean()
    (line,) = re.findall(r'<tr><th scope="row">plain mean</th>(.*?)</tr>', page_of(priced))
    cells = re.findall(r"<td>(.*?)</td>", line)
    assert cells[0] == f"{priced[1]['brier']['plain_mean']:.4f}"
    assert cells[3] == f"{mean:.4f}"
    assert cells[3] != cells[0]


def told(trades: int, net: float, still_open: int = 0) -> dict[str, Any]:
    paper = {"trades": trades, "open_positions": still_open, "staked_usd": 40.0, "fees_usd": 1.5, "net_profit_usd": net}
    return {"cost_usd": 2.0, "paper": paper, "terminal_reasons": {"edge": 9, "traded": trades, "volume": 1}}


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        (told(3, 5.25), "earned $5.25 on paper after fees, in 3 trades that staked $40.00; {}, which leaves +$3.25."),
        (told(1, -5.25), "lost $5.25 on paper after fees, in 1 trade that staked $40.00; {}, which leaves −$7.25."),
        (told(2, 0), "broke even on paper after fees, in 2 trades that staked $40.00; {}, which leaves −$2.00."),
        (told(0, 0), "made no trade on paper (the last word was: edge too small 9, volume too small 1); {}."),
    ],
    ids=["gain", "loss", "neither", "no trade"],
)
def test_losses_are_told_as_plainly_as_gains(strategy: dict[str, Any], sentence: str) -> None:
    expected = f"Weighted voting, the strategy of the settings, {sentence.format('calls cost $2.00')}"
    assert paper_sentence("weighted_voting", strategy) == expected


def test_positions_that_never_settled_are_not_counted_as_if_they_had() -> None:
    assert paper_sentence("consensus", told(2, 1, still_open=2)).endswith("Not counted: 2 positions still open.")


@pytest.mark.parametrize(("net", "shown"), [(5.25, ("gain", "▲ +$5.25")), (-5.25, ("loss", "▼ −$5.25"))])
def test_gains_and_losses_differ_by_sign_arrow_and_colour(priced: Backtest, net: float, shown: tuple[str, str]) -> None:
    doctored = deepcopy(priced[1])
    doctored["strategies"]["consensus"] = told(3, net) | {
        "brier": 0.2, "brier_without_market": 0.2, "decided": 3, "skipped": 10,
    }  # fmt: skip
    assert shown in re.findall(r'<span class="(\w+)">(.*?)</span>', page_of((priced[0], doctored)))


def test_reasons_beyond_the_most_frequent_are_counted_together_and_trades_are_no_reason() -> None:
    reasons = {"edge": 90, "traded": 7, "one_sided_book": 5, "volume": 2, "cooldown": 1}
    assert why_skipped({"terminal_reasons": reasons}, 2) == ["edge too small 90", "one sided book 5", "other reasons 3"]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words(reason: Reason) -> None:
    shown = why_skipped({"terminal_reasons": {str(reason): 1}}, 1)
    assert all(re.fullmatch(r"[a-z ]+ 1", each) for each in shown)
