"""Writes the table of modes into docs/operations.md: ``python -m ensemble_pipeline.ensemble.modes_reference [FILE]``.

Belongs here: how the table is shown. Does not: what it says, which stands in ``modes``.
"""

import sys
from pathlib import Path

from ensemble_pipeline.ensemble.modes import Row, Step, table
from ensemble_pipeline.settings import ModeSettings

BEGIN = "<!-- Written by `python -m ensemble_pipeline.ensemble.modes_reference`; edit ensemble/modes.py instead. -->"
END = "<!-- End of what is written. -->"

_COLUMNS = ("stake", "more confidence", "positions at once", "decided by", "earlier answers")
_NOTHING = "–"


def reference(options: ModeSettings | None = None) -> str:
    """The table as Markdown, with the numbers of `options` (default: the built-in ones)."""
    head = ["mode", *Step, *_COLUMNS]
    lines = [head, ["---"] * len(head), *(_cells(row) for row in table(options or ModeSettings()))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written_into(page: str) -> str:
    """A page with the table between its markers.

    Raises:
        ValueError: the page lacks a marker.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: it lacks {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _cells(row: Row) -> list[str]:
    steps = ["yes" if row.allows(step) else "no" for step in Step]
    if not row.takes_risk:
        return [f"`{row.mode}`", *steps, *[_NOTHING] * len(_COLUMNS)]
    return [
        f"`{row.mode}`",
        *steps,
        "as usual" if row.stake_share == 1 else f"{row.stake_share:g} of the usual",
        f"+{row.extra_confidence:g}" if row.extra_confidence else _NOTHING,
        "as usual" if row.max_positions is None else str(row.max_positions),
        "one model" if row.is_single else "several models",
        f"up to {row.earlier_hours:g} h old, {row.earlier_confidence_share:g} of their confidence"
        if row.earlier_hours
        else _NOTHING,
    ]


def main(arguments: list[str]) -> None:
    """Write the table into the named page, by default docs/operations.md below the working folder."""
    target = Path(arguments[0]) if arguments else Path("docs") / "operations.md"
    target.write_text(written_into(target.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
