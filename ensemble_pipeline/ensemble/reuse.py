"""Which members of a plan give an earlier answer again, and which are asked for real to measure what that loses.

Pure. Belongs here: the choice for one market. Does not: whether an answer may be given again (cache.py), when nobody
may be asked (plan.py).
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from ensemble_pipeline.domain import EarlierAnswer, Strategy
from ensemble_pipeline.ensemble.cache_evidence import COMPARED
from ensemble_pipeline.ensemble.context import Standing
from ensemble_pipeline.ensemble.modes import Row
from ensemble_pipeline.ensemble.selection import draw
from ensemble_pipeline.settings import Policy


@dataclass(frozen=True, slots=True)
class Reuse:
    """By member: earlier answers that are `given` again, and those `shadowed`, of members that are asked all the same.

    `is_only`: nobody may be asked now but to compare, and the earlier answers suffice. `emergency` names whose answer
    is given by the bounds of an emergency, with less confidence, for its member cannot be asked.
    """

    given: Mapping[str, EarlierAnswer] = field(default_factory=dict)
    shadowed: Mapping[str, EarlierAnswer] = field(default_factory=dict)
    is_only: bool = False
    emergency: frozenset[str] = frozenset()

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
    emergency: Mapping[str, EarlierAnswer] | None = None,
) -> Reuse:
    """The answers to give again about one market.

    Args:
        policy: Whether any are, and what share of hits is asked for real.
        earlier: By member, what was found.
        key: Names market and instant; the same key draws the same shadow sample.
        demanded: Answers without which a decision is not made from earlier ones alone.
        may_ask: Whether models may be asked; else earlier answers decide alone, where there are enough.
        may_compare: Whether there is money for the shadow sample, which is drawn also where nobody else is asked.
        emergency: By member that cannot be asked, what was found by the bounds of an emergency.
    """
    if not policy.cache.is_enabled or policy.ensemble.member_policy == "all":
        return Reuse()
    enabled = {member.name for member in policy.enabled_members}
    late = {name: it for name, it in (emergency or {}).items() if not it.refusal and name in enabled}
    usable = {name: it for name, it in earlier.items() if not it.refusal and name in enabled and name not in late}
    share = policy.cache.shadow_share if may_compare else 0.0
    drawn = {name: it for name, it in usable.items() if draw(f"{key}|{name}|shadow") < share}
    given = {name: it for name, it in usable.items() if name not in drawn}
    given |= late
    if not may_ask:
        is_enough = len(usable) + len(late) >= demanded
        return Reuse(given, drawn, is_only=True, emergency=frozenset(late)) if is_enough else Reuse()
    compared = {
        name: it for name, it in earlier.items() if it.refusal in COMPARED and name in enabled and name not in late
    }
    return Reuse(given, compared | drawn, emergency=frozenset(late))


def late_answers(
    mode: Row, strategy: Strategy, standing: Standing, unavailable: Set[str], *, is_paid: bool
) -> dict[str, EarlierAnswer]:
    """What members that cannot be asked may say again in an emergency, where the mode lets them.

    Where one model decides and there is no money (`is_paid` false), nobody can be asked; then what may be given again
    as usual is.
    """
    # less confidence of one member lends weight to the others there, and so could open a trade
    if not mode.earlier_hours or strategy is Strategy.CONFIDENCE_BASED:
        return {}
    usual = {name for name, it in standing.earlier.items() if not it.refusal}
    out = unavailable if is_paid or not mode.is_single else unavailable | (standing.emergency.keys() - usual)
    return {name: it for name, it in standing.emergency.items() if name in out}
