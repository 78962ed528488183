"""A session that outlives a restart of the server: it is opened anew, and what it held is taken again.

Belongs here: noticing at once that the server hung up, and coming back as soon as it answers. Does not: what is held.
"""

import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import psycopg

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.database import is_open

AnySession = psycopg.Connection[Any]

_PAUSE_S = 0.05


class LastingSession:
    """Looks after a session from a thread of its own until `close`."""

    def __init__(
        self, session: AnySession, reopen: Callable[[], AnySession], take: Callable[[AnySession], bool]
    ) -> None:
        """`take` has a new session hold what the lost one held, without waiting; where it cannot, that was the end."""
        self._session = session
        self._reopen = reopen
        self._take = take
        self._was_lost = False
        self._closing = threading.Event()
        self._bell, self._rope = socket.socketpair()
        self._thread = threading.Thread(target=self._look_after, name="lasting-session", daemon=True)
        self._thread.start()

    @property
    def session(self) -> AnySession:
        """The present session; closed while the server is away, and for good where another took what it held."""
        return self._session

    def is_unbroken(self) -> bool:
        """Whether the first session still stands, so that nobody else can have held what it holds."""
        return not self._was_lost and is_open(self._session)

    def close(self) -> None:
        """End the session, and with it what it holds."""
        self._closing.set()
        self._rope.send(b"x")
        self._thread.join()
        self._session.close()
        self._bell.close()
        self._rope.close()

    def _look_after(self) -> None:
        while self._wait_for_a_word():
            if is_open(self._session):
                continue
            self._was_lost = True
            self._session.close()
            if not self._come_back():
                return

    def _wait_for_a_word(self) -> bool:
        """Wait until the server says something unasked; False where it is time to end."""
        look = select.poll()
        look.register(self._bell, select.POLLIN)
        try:
            look.register(self._session.fileno(), select.POLLIN)
        except psycopg.OperationalError:
            # whoever used it has noticed before
            return not self._closing.is_set()
        look.poll()
        return not self._closing.is_set()

    def _come_back(self) -> bool:
        while not self._closing.wait(_PAUSE_S):
            session = None
            try:
                session = self._reopen()
                is_ours = self._take(session)
            except (DatabaseError, psycopg.OperationalError):
                # it is still away, or again
                if session is not None:
                    session.close()
                continue
            if is_ours:
                self._session = session
                return True
            session.close()
            return False
        return False
