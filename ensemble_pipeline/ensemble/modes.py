"""What each operating mode allows: one table, which planning, concluding, sizing, exits and settlement all ask.

Belongs here: the table, with the settings' numbers in it. Does not: which mode is in force (operating.py), what puts
one in force (mode_evidence.py). docs/operations.md shows the same table (modes_reference.py writes it).
"""

from dataclasses import dataclass
from enum import StrEnum

from ensemble_pipeline.domain import Mode
from ensemble_pipeline.settings import Count, ModeSettings


class Step(StrEnum):
    """What may be done with a position: opened, increased, sold in part, sold as a whole, paid out."""

    OPEN = "open"
    INCREASE = "increase"
    REDUCE = "reduce"
    EXIT = "exit"
    SETTLE = "settle"


# an emergency stops new risk, never the way out of what is held
_WAYS_OUT = frozenset({Step.REDUCE, Step.EXIT, Step.SETTLE})


@dataclass(frozen=True, slots=True)
class Row:
    """One mode of the table; what is not said is as usual.

    `stake_share` is taken of the usual stake, `extra_confidence` demanded besides the usual. `max_positions` bounds the
    positions open at once that were opened in this mode or a more careful one (``None``: only the usual limits do).
    `is_single`: one model decides. `earlier_hours` is the age up to which a member who cannot be asked gives an earlier
    answer again (0: none does), with `earlier_confidence_share` of its confidence. `is_share_of_kelly`: the stake's
    share is taken before the trade value caps it, not after.
    """

    mode: Mode
    steps: frozenset[Step]
    stake_share: float = 1.0
    extra_confidence: float = 0.0
    max_positions: int | None = None
    is_single: bool = False
    earlier_hours: float = 0.0
    earlier_confidence_share: float = 1.0
    is_share_of_kelly: bool = False

    @property
    def kelly_share(self) -> float:
        """Share of the Kelly stake, which the trade value caps then."""
        return self.stake_share if self.is_share_of_kelly else 1.0

    @property
    def share_of_usual(self) -> float:
        """Share of the stake that is left after that."""
        return 1.0 if self.is_share_of_kelly else self.stake_share

    def allows(self, step: Step) -> bool:
        """Whether `step` may be taken in this mode."""
        return step in self.steps

    @property
    def takes_risk(self) -> bool:
        """Whether anything may be bought at all."""
        return self.allows(Step.OPEN) or self.allows(Step.INCREASE)


def table(options: ModeSettings) -> tuple[Row, ...]:
    """The whole table, the usual mode first, each more careful than the one before it."""
    is_of_kelly = options.stake_share_of == "kelly"
    return (
        Row(Mode.NORMAL, _WAYS_OUT | {Step.OPEN, Step.INCREASE}),
        Row(
            Mode.DEGRADED,
            _WAYS_OUT | {Step.OPEN, Step.INCREASE},
            stake_share=options.degraded_stake_share,
            extra_confidence=options.degraded_extra_confidence,
            is_share_of_kelly=is_of_kelly,
        ),
        Row(
            Mode.CONSERVATIVE,
            _WAYS_OUT | {Step.OPEN},
            stake_share=options.conservative_stake_share,
            extra_confidence=options.conservative_extra_confidence,
            max_positions=_bound(options.conservative_positions),
            earlier_hours=options.earlier_hours,
            earlier_confidence_share=options.earlier_confidence_share,
            is_share_of_kelly=is_of_kelly,
        ),
        Row(
            Mode.MINIMAL,
            _WAYS_OUT | {Step.OPEN},
            stake_share=options.minimal_stake_share,
            extra_confidence=options.minimal_extra_confidence,
            max_positions=_bound(options.minimal_positions),
            is_single=options.minimal_is_single,
            earlier_hours=options.earlier_hours,
            earlier_confidence_share=options.earlier_confidence_share,
            is_share_of_kelly=is_of_kelly,
        ),
        Row(
            Mode.SUSPENDED,
            _WAYS_OUT,
            stake_share=0.0,
            extra_confidence=options.minimal_extra_confidence,
            max_positions=0,
        ),
    )


def _bound(count: Count) -> int | None:
    return None if count == "unlimited" else count


def row_of(mode: str, options: ModeSettings) -> Row:
    """What `mode` allows."""
    return table(options)[Mode(mode).severity]
