"""Runs the sandbox as a process of its own on loopback.

Belongs here: the port, the server, the bond to the parent process. Does not: what is served (``app``).
"""

import errno
import os
import socket
import threading
from collections.abc import Iterable, Mapping

import uvicorn
from starlette.types import ASGIApp

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.errors import PortTakenError
from ensemble_pipeline.sandbox.app import create_app
from ensemble_pipeline.sandbox.connection import WithConnections
from ensemble_pipeline.sandbox.faults import Fault
from ensemble_pipeline.sandbox.world import World

HOST = "127.0.0.1"
_PARENT_CHECK_S = 0.5


def serve(
    world: World,
    clock: Clock,
    port: int,
    parent_pid: int | None = None,
    faults: Iterable[Fault] = (),
    keys: Mapping[str, str] | None = None,
) -> None:
    """Serve until told to stop, or until the parent process is gone.

    `parent_pid` is the process whose end ends the server; the present parent where it is not given. A launcher
    passes its own id, which also covers its dying before this function was reached. `port` 0 takes a free one.
    `faults` strike in their order from the first call on; `keys` by provider, where one accepts another than
    ``sandbox``.

    Raises:
        PortTakenError: another program listens on `port`.
    """
    listener = bind(port)
    server = create_server(create_app(world, clock, faults, keys))
    done = threading.Event()
    watch = threading.Thread(
        target=_watch_parent, args=(server, parent_pid or os.getppid(), done), name="parent-watch", daemon=True
    )
    watch.start()
    try:
        server.run(sockets=[listener])
    finally:
        done.set()
        listener.close()


def create_server(app: ASGIApp) -> uvicorn.Server:
    """A server for `app` that logs warnings and worse; run it on a socket of `bind`."""
    served = WithConnections(app)
    config = uvicorn.Config(
        served, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=2
    )
    served.server = uvicorn.Server(config)
    return served.server


def bind(port: int) -> socket.socket:
    """A socket bound to `port` on loopback.

    Raises:
        PortTakenError: another program listens on `port`.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # lets a restart take the port while old connections linger; a listening program still keeps it
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTakenError(
            f"port {port} on {HOST} is in use; stop the program that listens there or name another port"
        ) from None
    return listener


def _watch_parent(server: uvicorn.Server, parent_pid: int, done: threading.Event) -> None:
    while os.getppid() == parent_pid:
        if done.wait(_PARENT_CHECK_S):
            return
    server.should_exit = True
