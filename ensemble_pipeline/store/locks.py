"""Who works on which snapshots: locks of a session of the database, which fall with it, however its process ends."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ensemble_pipeline.errors import DatabaseLostError
from ensemble_pipeline.store.database import Connection, Database, require_row
from ensemble_pipeline.store.lasting import AnySession, LastingSession

SNAPSHOT_LOCKS = 0x736E6170
"""Class of the advisory locks on snapshots: any number, the same in every process."""


class SnapshotLocks:
    """The locks of one run."""

    def __init__(self, session: LastingSession) -> None:
        self._session = session

    def require_unbroken(self) -> None:
        """Make sure that nobody else can have worked on the snapshots since they were locked.

        Raises:
            DatabaseLostError: the server dropped the locks in between. They are taken again for what is under way,
                but what was read under the first ones may have been overtaken.
        """
        if not self._session.is_unbroken():
            raise DatabaseLostError(
                "PostgreSQL went away and took the locks on this run's snapshots with it: nobody more is asked, and "
                "what was under way is booked. Retry the run: it asks nobody twice."
            )


@contextmanager
def locked_snapshots(database: Database, snapshot_ids: Sequence[int]) -> Iterator[SnapshotLocks]:
    """Wait until nobody else works on these snapshots, and keep others out until the block or this process ends.

    Where the server drops the locks they are taken again at once, so that nobody takes the calls of this run for those
    of a dead one.

    Raises:
        DatabaseError: the server cannot be reached, or (``DatabaseLostError``) went away while locks were waited for.
    """
    with database.session() as session:
        lock_snapshots(session, snapshot_ids)
        lasting = LastingSession(session, database.open_session, lambda again: _lock_again(again, snapshot_ids))
        try:
            yield SnapshotLocks(lasting)
        finally:
            lasting.close()


def lock_snapshots(connection: Connection, snapshot_ids: Sequence[int]) -> None:
    """Wait until no other session works on these snapshots, and keep others out until this session ends."""
    connection.execute(
        "select pg_advisory_lock(%s, id) from (select unnest(%s::int[]) as id order by id) as wanted",
        [SNAPSHOT_LOCKS, _numbers(snapshot_ids)],
    )


def _lock_again(session: AnySession, snapshot_ids: Sequence[int]) -> bool:
    row = session.execute(
        "select bool_and(pg_try_advisory_lock(%s, id)) as is_ours from unnest(%s::int[]) as id",
        [SNAPSHOT_LOCKS, _numbers(snapshot_ids)],
    ).fetchone()
    return bool(require_row(row)["is_ours"])


def _numbers(snapshot_ids: Sequence[int]) -> list[int]:
    return [snapshot_id % 2**31 for snapshot_id in snapshot_ids]
