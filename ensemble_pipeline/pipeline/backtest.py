"""`ensemble backtest`: archives walked through, the report as JSON, and a page for people beside it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.pipeline.backtest_page import backtest_page
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.backtest.rows import played
from ensemble_pipeline.replay.backtest.scores import report
from ensemble_pipeline.replay.backtest.walk import Progress as ReportProgress
from ensemble_pipeline.replay.backtest.walk import Walk, walk
from ensemble_pipeline.replay.price_list import PriceList, read_price_list
from ensemble_pipeline.settings import Settings, load_settings


def run_backtest(archives: Sequence[Path], target: Path, price_list: Path | None = None) -> list[dict[str, Any]]:
    """Walk through each archive, write the reports to `target` and the page beside it; returns the reports.

    Models that the file `price_list` names cost what it says.

    Nothing is written unless every archive could be walked through.

    Raises:
        ArchiveError: an archive or the price list cannot be read, one is named twice, or the report cannot be written.
    """
    if page_beside(target) == target:
        raise ArchiveError(f"{target} is where the page goes; name the report something.json")
    if not target.parent.is_dir():
        raise ArchiveError(f"{target} cannot be written: there is no folder {target.parent}; make it or name another")
    settings = load_settings()
    names = [archive.resolve() for archive in archives]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ArchiveError(f"named twice: {', '.join(map(str, sorted(twice)))}; name each archive once")
    prices = {} if price_list is None else read_price_list(price_list)
    walked = [_walk_one(archive, settings, prices) for archive in archives]
    reports = [report(it, settings.ensemble) for it in walked]
    page = backtest_page(list(zip(walked, reports, strict=True)), settings.ensemble)
    _write(target, json.dumps(reports, indent=2))
    _write(page_beside(target), page)
    return reports


def page_beside(target: Path) -> Path:
    """Where the page of a report goes."""
    return target.with_name(f"{target.stem}.html")


def show_reports(reports: Sequence[dict[str, Any]]) -> str:
    """One line an archive: the scores that matter."""
    return "\n".join(_line(it) for it in reports)


def _line(it: dict[str, Any]) -> str:
    brier, priced = it["brier"], it["on_market_rows"]
    if not it["rows"]:
        return f"{it['archive']}: no row to score: no question that somebody answered has resolved"
    line = (
        f"{it['archive']}: {it['rows']} rows, Brier {brier['ensemble_without_market']:.4f} without the price "
        f"(plain mean {brier['plain_mean']:.4f})"
    )
    if priced["rows"]:
        line += f", {priced['ensemble']:.4f} with it (market {priced['market']:.4f}, {priced['rows']} rows)"
    return line


def _walk_one(archive: Path, settings: Settings, prices: PriceList) -> Walk:
    with _progress(archive.name) as advance:
        return walk(played(read_archive(archive), prices), settings, advance)


@contextmanager
def _progress(name: str) -> Iterator[ReportProgress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ArchiveError(f"{target} cannot be written ({error.strerror}); name another file in --report") from None
