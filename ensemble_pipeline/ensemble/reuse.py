"""Which members of a plan give an earlier answer again, and which are asked for real to measure what that loses.

Pure. Belongs here: the choice for one market. Does not: whether an answer may be given again (cache.py), when nobody
may be asked (plan.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ensemble_pipeline.domain import EarlierAnswer
from ensemble_pipeline.ensemble.cache_evidence import COMPARED
from ensemble_pipeline.ensemble.selection import draw
from ensemble_pipeline.settings import Policy


@dataclass(frozen=True, slots=True)
class Reuse:
    """By member: earlier answers that are `given` again, and those `shadowed`, of members that are asked all the same.

    `is_only`: nobody may be asked now but to compare, and the earlier answers suffice.
    """

    given: Mapping[str, EarlierAnswer] = field(default_factory=dict)
    shadowed: Mapping[str, EarlierAnswer] = field(default_factory=dict)
    is_only: bool = False

    @property
    def names(self) -> frozenset[str]:
        """Whose earlier answer was considered."""
        return frozenset(self.given) | frozenset(self.shadowed)


def choose_reuse(
    policy: Policy,
    earlier: Mapping[str, EarlierAnswer],
    key: str,
    demanded: int,
    *,
    may_ask: bool = True,
    may_compare: bool = True,
) -> Reuse:
    """The answers to give again about one market.

    Args:
        policy: Whether any are, and what share of hits is asked for real.
        earlier: By member, what was found.
        key: Names market and instant; the same key draws the same shadow sample.
        demanded: Answers without which a decision is not made from earlier ones alone.
        may_ask: Whether models may be asked; else earlier answers decide alone, where there are enough.
        may_compare: Whether there is money for the shadow sample, which is drawn also where nobody else is asked.
    """
    if not policy.cache.is_enabled or policy.ensemble.member_policy == "all":
        return Reuse()
    enabled = {member.name for member in policy.enabled_members}
    usable = {name: it for name, it in earlier.items() if not it.refusal and name in enabled}
    share = policy.cache.shadow_share if may_compare else 0.0
    drawn = {name: it for name, it in usable.items() if draw(f"{key}|{name}|shadow") < share}
    given = {name: it for name, it in usable.items() if name not in drawn}
    if not may_ask:
        return Reuse(given, drawn, is_only=True) if len(usable) >= demanded else Reuse()
    compared = {name: it for name, it in earlier.items() if it.refusal in COMPARED and name in enabled}
    return Reuse(given, compared | drawn)
