"""Alerts as they stand and as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from ensemble_pipeline.store.database import Connection, Row, require_row

Severity = Literal["warning", "error"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong: `kind` and `subject` are its identity, `action` says what to do, `evidence` is JSON."""

    kind: str
    subject: str
    severity: Severity
    cause: str
    action: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertChange:
    """How many alerts a look raised, found standing, and resolved."""

    raised: int
    standing: int
    resolved: int


def update_alerts(connection: Connection, kinds: Sequence[str], found: Sequence[Alert], now: datetime) -> AlertChange:
    """Make the open alerts of these kinds those that were found: each raised once, and resolved when it is gone."""
    # two looks at once would both find nothing open and both raise
    connection.execute("lock table alerts in share row exclusive mode")
    resolved = connection.execute(
        "update alerts a set resolved_at = greatest(a.raised_at, %s) where a.resolved_at is null and a.kind = any(%s)"
        " and not exists (select from unnest(%s::text[], %s::text[]) f(kind, subject)"
        " where (f.kind, f.subject) = (a.kind, a.subject))",
        [now, list(kinds), [it.kind for it in found], [it.subject for it in found]],
    ).rowcount
    raised = sum(_raise(connection, alert, now) for alert in found)
    return AlertChange(raised, len(found) - raised, resolved)


def _raise(connection: Connection, alert: Alert, now: datetime) -> int:
    values = {
        "kind": alert.kind,
        "subject": alert.subject,
        "severity": alert.severity,
        "cause": alert.cause,
        "action": alert.action,
        "evidence": Jsonb(dict(alert.evidence)),
        "now": now,
    }
    standing = connection.execute(
        "update alerts set severity = %(severity)s, cause = %(cause)s, action = %(action)s, evidence = %(evidence)s,"
        " updated_at = greatest(updated_at, %(now)s) where kind = %(kind)s and subject = %(subject)s"
        " and resolved_at is null",
        values,
    ).rowcount
    if not standing:
        connection.execute(
            "insert into alerts (kind, subject, severity, cause, action, evidence, raised_at, updated_at) values"
            " (%(kind)s, %(subject)s, %(severity)s, %(cause)s, %(action)s, %(evidence)s, %(now)s, %(now)s)",
            values,
        )
    return 1 - standing


def open_alerts(connection: Connection) -> list[Row]:
    """What is wrong now, errors first, the oldest first among equals."""
    return connection.execute(
        "select kind, subject, severity, cause, action, evidence, raised_at, updated_at from alerts"
        " where resolved_at is null order by severity, raised_at, kind, subject"
    ).fetchall()


def is_open(connection: Connection, kind: str) -> bool:
    """Whether an alert of this kind is open."""
    row = connection.execute(
        "select exists (select from alerts where kind = %s and resolved_at is null) as is_open", [kind]
    ).fetchone()
    return bool(require_row(row)["is_open"])
