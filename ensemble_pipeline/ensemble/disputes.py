"""What somebody decides about a bill that the system does not believe. Until then the model that sent it is closed."""

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store import anomalies, budget
from ensemble_pipeline.store.anomalies import Dispute, Resolution


def decide_dispute(instance: Instance, number: int, resolution: Resolution, cause: str) -> Dispute:
    """Accept a disputed cost, so that the ledger books what was claimed, or reject it; the model may be asked again.

    What is accepted counts on the day of the call, as a correction of its own; what is rejected stays as booked.

    Raises:
        InputError: no dispute of this number is open, or the cause is empty.
    """
    if not cause.strip():
        raise InputError("say why in --cause: it is kept with the decision")
    now = instance.clock.now()
    with instance.database.connection() as connection:
        dispute = anomalies.dispute_by_id(connection, number)
        if dispute is None:
            raise InputError(f"no dispute {number} is open; `ensemble budget disputes` shows those that are")
        missing = dispute.claimed_micro_usd - dispute.booked_micro_usd
        if resolution == "accepted" and missing:
            budget.correct(connection, dispute.reservation_id, missing, cause, now)
        anomalies.resolve(connection, number, resolution, cause, now)
    return dispute
