"""What members are asked: the one place where market, evidence, price and role become a prompt.

Plan and consult both ask here, so that the worst case is priced on exactly the prompt that is sent.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from ensemble_pipeline.domain import Evidence, Snapshot
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import EnsembleSettings, MemberSettings
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.evidence import evidence_known


class Questions:
    """The prompts of a batch, from its settings and the evidence by market."""

    def __init__(self, options: EnsembleSettings, evidence: Mapping[str, Sequence[Evidence]]) -> None:
        self._is_price_shown = options.show_market_price
        self._evidence = evidence

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


def read_questions(
    connection: Connection, options: EnsembleSettings, snapshots: Sequence[Snapshot], as_of: datetime
) -> Questions:
    """The questions about `snapshots`, with the evidence known at `as_of`."""
    market_ids = [snapshot.market.market_id for snapshot in snapshots]
    return Questions(options, evidence_known(connection, market_ids, as_of))
