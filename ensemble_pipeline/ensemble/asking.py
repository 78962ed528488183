"""What members are asked: the one place where market, evidence, price and role become a prompt.

Plan and consult both ask here, so that the worst case is priced on exactly the prompt that is sent, and as much is
held for a call as was planned for it.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ensemble_pipeline.domain import Evidence, Snapshot
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import EnsembleSettings, MemberSettings
from ensemble_pipeline.store.anomalies import overruns_since
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.evidence import evidence_known

# for so long a bill above the worst case raises what is held for its model
_OVERRUNS_COUNT = timedelta(days=30)


class Questions:
    """The prompts of a batch, from its settings and the evidence by market, and what to hold for a call."""

    def __init__(
        self,
        options: EnsembleSettings,
        evidence: Mapping[str, Sequence[Evidence]],
        overruns: Mapping[str, float] | None = None,
    ) -> None:
        """`overruns`: how many times its worst case each model's dearest call has cost of late, where that was more."""
        self._is_price_shown = options.show_market_price
        self._evidence = evidence
        self._overruns = dict(overruns or {})

    def evidence_on(self, snapshot: Snapshot) -> Sequence[Evidence]:
        """What members read about the market of `snapshot`."""
        return self._evidence.get(snapshot.market.market_id, ())

    def prompt(self, member: MemberSettings, snapshot: Snapshot, asked_at: datetime) -> Prompt:
        """What `member` is asked about `snapshot` at `asked_at`.

        Raises:
            SettingsError: the member's role has no prompt file.
            InputError: there is evidence from after `asked_at`.
        """
        return build_prompt(
            member.role,
            snapshot.market,
            asked_at,
            self.evidence_on(snapshot),
            snapshot.quote.mid if self._is_price_shown else None,
        )

    def to_hold(self, member: MemberSettings, worst_case_micro_usd: int) -> int:
        """What to hold for a call, in micro-dollars: its worst case, or more where bills have proven that too little.

        >>> grok = MemberSettings(name="grok", provider="xai", model="grok-4.3")
        >>> questions = Questions(EnsembleSettings(), {}, {"grok": 1.5})
        >>> questions.to_hold(grok, 100), questions.to_hold(grok.model_copy(update={"name": "other"}), 100)
        (150, 100)
        """
        return math.ceil(worst_case_micro_usd * self._overruns.get(member.name, 1.0))

    def note_bill(self, member: MemberSettings, cost_micro_usd: int, worst_case_micro_usd: int) -> None:
        """Hold more for the next call of `member` where this one cost more than its worst case."""
        if worst_case_micro_usd and cost_micro_usd > worst_case_micro_usd:
            factor = cost_micro_usd / worst_case_micro_usd
            self._overruns[member.name] = max(factor, self._overruns.get(member.name, 1.0))


def read_questions(
    connection: Connection, options: EnsembleSettings, snapshots: Sequence[Snapshot], as_of: datetime
) -> Questions:
    """The questions about `snapshots`, with the evidence and the bills known at `as_of`."""
    market_ids = [snapshot.market.market_id for snapshot in snapshots]
    overruns = overruns_since(connection, as_of - _OVERRUNS_COUNT)
    return Questions(options, evidence_known(connection, market_ids, as_of), overruns)
