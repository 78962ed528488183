"""Processes that live and end together: each in a group of its own, none outliving the parent."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ensemble_pipeline.errors import EnsembleError, PortTakenError

_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One started process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


@dataclass
class Family:
    """Children of this process, ended in the reverse order of their start."""

    log_dir: Path
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a child; its output goes to a log file of its name."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = self.log_dir / f"{name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_prepare_child,  # noqa: PLW1509 - nothing else runs in this process yet
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def require_alive(self) -> None:
        """Make sure that nobody ended.

        Raises:
            EnsembleError: a child ended by itself; names it, its exit status and its log.
        """
        for child in self.children:
            status = child.process.poll()
            if status is not None:
                raise EnsembleError(f"{child.name} ended with status {status}; its output is in {child.log}")

    def stop(self) -> None:
        """End all children and whatever they started, politely first."""
        for child in reversed(self.children):
            _signal_group(child, signal.SIGTERM)
        for child in reversed(self.children):
            try:
                child.process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                _signal_group(child, signal.SIGKILL)
                child.process.wait()
            # a child that ended may have left members of its group behind
            _signal_group(child, signal.SIGKILL)
        self.children.clear()


def _prepare_child() -> None:
    # a background job of a shell ignores SIGINT, and Dagster would then ignore SIGTERM too
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, option: str) -> None:
    """Make sure that a port on 127.0.0.1 can be listened on.

    Raises:
        PortTakenError: somebody listens there; says how to name another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} on 127.0.0.1 is in use: end the program that listens there, "
                f"or name another port with {option}"
            ) from error
