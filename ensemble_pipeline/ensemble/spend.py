"""The day's money as a value: what is left in each account, how scarce it is, and which calls it can pay.

Pure: accounts and limits are handed in. Belongs here: planning with money. Does not: spending it (store.ledger holds
each call's worst case, and that is what cannot be overshot), reading accounts (cost.py).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ensemble_pipeline.store.budget import Account, DaySpend, Limits

ALERT_SHARES = (0.80, 0.95, 1.00)
"""Shares of a limit at which spent and held together warn, fail, and leave nothing."""


@dataclass(frozen=True, slots=True)
class LimitUse:
    """One limit and how far it is used, in micro-dollars. `scope` as in the ledger, `subject` empty for the day's."""

    scope: str
    subject: str
    committed: int
    limit: int

    @property
    def share(self) -> float:
        """Spent and held as a share of the limit; 1 where the limit is 0."""
        return self.committed / self.limit if self.limit else 1.0

    @property
    def alert_share(self) -> float:
        """The highest share of `ALERT_SHARES` that is reached, 0 for none."""
        return max((share for share in ALERT_SHARES if self.committed >= share * self.limit), default=0.0)

    @property
    def name(self) -> str:
        """The limit in words."""
        words = {"day": "day, hard", "day_soft": "day, soft"}
        return words.get(self.scope, f"{self.scope} {self.subject}")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that a decision would like to make, with the most that it can cost in micro-dollars."""

    model_id: str
    provider: str
    worst_case_micro_usd: int


@dataclass(frozen=True, slots=True)
class SpendStatus:
    """The accounts of a day against their limits."""

    spend: DaySpend
    limits: Limits

    @property
    def committed(self) -> int:
        """Spent and held of the whole day, in micro-dollars."""
        return self.spend.committed

    @property
    def new_analyses_below(self) -> int | None:
        """Below so much, in micro-dollars, new analyses may begin: the lower of the day's limits, None for neither."""
        return min((it for it in (self.limits.day_soft, self.limits.day_hard) if it is not None), default=None)

    @property
    def may_begin(self) -> bool:
        """Whether the day's money lets new analyses begin."""
        return self.new_analyses_below is None or self.committed < self.new_analyses_below

    @property
    def uses(self) -> tuple[LimitUse, ...]:
        """Every limit that is none of "unlimited", with its use: the day's, then providers and models by name."""
        return tuple(self._uses())

    def pressure(self, economise_from_share: float) -> float:
        """How scarce the day's money is: 0 up to this share of where new analyses stop, rising evenly to 1 there.

        Without a limit of the day it is always 0.
        """
        limit = self.new_analyses_below
        if limit is None:
            return 0.0
        used = self.committed / limit if limit else 1.0
        if used >= 1 or economise_from_share == 1:
            return float(used >= 1)
        return max(0.0, (used - economise_from_share) / (1 - economise_from_share))

    def payable(self, wanted: Sequence[PlannedCall], market_committed: int = 0) -> list[PlannedCall]:
        """Those of the calls that fit one after the other, in this order, into every limit they concern.

        Who does not fit is left out and the next is tried: a dear model does not keep a cheap one from being asked.
        """
        room = _Room(self, market_committed)
        return [call for call in wanted if room.takes(call)]

    def _uses(self) -> Iterator[LimitUse]:
        limits, spend = self.limits, self.spend
        for scope, limit in (("day", limits.day_hard), ("day_soft", limits.day_soft)):
            if limit is not None:
                yield LimitUse(scope, "", self.committed, limit)
        yield from _named_uses("provider", limits.providers, spend.providers)
        yield from _named_uses("model", limits.models, spend.models)


def _named_uses(scope: str, limits: Mapping[str, int | None], accounts: Mapping[str, Account]) -> Iterator[LimitUse]:
    for subject in sorted(limits):
        if (limit := limits[subject]) is not None:
            yield LimitUse(scope, subject, accounts.get(subject, Account()).committed, limit)


class _Room:
    """Limits and what counts against them, while a plan is made."""

    def __init__(self, status: SpendStatus, market_committed: int) -> None:
        limits, spend = status.limits, status.spend
        most = {
            "day": limits.day_hard,
            "decision": limits.decision,
            "market": limits.market_day,
            **{f"provider {name}": limit for name, limit in limits.providers.items()},
            **{f"model {name}": limit for name, limit in limits.models.items()},
        }
        self._limits = {account: limit for account, limit in most.items() if limit is not None}
        self._committed: Counter[str] = Counter(
            {
                "day": status.committed,
                "market": market_committed,
                **{f"provider {name}": account.committed for name, account in spend.providers.items()},
                **{f"model {name}": account.committed for name, account in spend.models.items()},
            }
        )

    def takes(self, call: PlannedCall) -> bool:
        """Whether the call fits; then its worst case counts."""
        accounts = ("day", "decision", "market", f"provider {call.provider}", f"model {call.model_id}")
        limited = [account for account in accounts if account in self._limits]
        if not all(self._fits(account, call.worst_case_micro_usd) for account in limited):
            return False
        for account in limited:
            self._committed[account] += call.worst_case_micro_usd
        return True

    def _fits(self, account: str, worst: int) -> bool:
        limit = self._limits[account]
        # as in the ledger: a limit of 0 stops free calls too; one that is used up, or was lowered since, does not
        return limit > 0 and (not worst or self._committed[account] + worst <= limit)
