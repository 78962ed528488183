"""What is wrong with models and providers: breakers that are open, idle providers that cannot be reached.

Belongs here: which conditions raise an alert, with what words. Does not: keeping them (store/alerts.py).
"""

from datetime import datetime

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.store import alerts, breakers, health
from ensemble_pipeline.store.alerts import Alert, AlertChange
from ensemble_pipeline.store.breakers import Breaker
from ensemble_pipeline.store.health import Probe

KINDS = ("breaker_open", "provider_unreachable")


def watch_health(instance: Instance) -> AlertChange:
    """Bring the alerts on models and providers in use up to date."""
    members = instance.settings.enabled_members
    providers = {member.provider for member in members}
    used = {(member.provider, member.name) for member in members} | {(it, breakers.PROVIDER) for it in providers}
    now = instance.clock.now()
    with instance.database.connection() as connection:
        standing = breakers.all_breakers(connection)
        found = [
            *(_open(it, now) for key, it in standing.items() if key in used and it.state != "closed"),
            *(_unreachable(it) for it in health.failed_probes(connection) if it.provider in providers),
        ]
        return alerts.update_alerts(connection, KINDS, found, now)


def _open(it: Breaker, now: datetime) -> Alert:
    until = "" if it.open_until is None else it.open_until.isoformat()
    tries = f"One call may try from {until} on." if it.is_open_at(now) else "The next call that asks it is a try."
    return Alert(
        kind="breaker_open",
        subject=it.name,
        severity="error" if it.model_id == breakers.PROVIDER else "warning",
        cause=f"{it.name} is not asked since {it.since}: {it.cause}",
        action=f"{tries} Others are asked meanwhile. If the cause names a key, an account or a model that is gone, "
        "mend that, then `ensemble breakers close` has it asked at once.",
        evidence={"consecutive_failures": it.consecutive_failures, "open_until": until},
    )


def _unreachable(probe: Probe) -> Alert:
    return Alert(
        kind="provider_unreachable",
        subject=probe.provider,
        severity="warning",
        cause=f"a probe of {probe.provider} at {probe.probed_at.isoformat()} failed: {probe.problem}",
        action="It has answered no call since. Mend what the cause names before it is needed.",
    )
