"""A PostgreSQL server of a benchmark's own, and the CPU it has taken."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.embedded import EmbeddedServer, start_embedded
from ensemble_pipeline.store.migrate import migrate

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running embedded server."""

    embedded: EmbeddedServer
    postmaster: int

    def migrated(self, name: str) -> str:
        """The URL of a new database that holds our schema."""
        url = self.embedded.ensure_database(name)
        database = Database(url)
        migrate(database)
        database.close()
        return url

    def cpu_s(self) -> float:
        """CPU seconds so far: of its living processes, and of those that ended."""
        total = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except FileNotFoundError:
                    continue
                if self.postmaster in (int(entry.name), int(fields[1])):
                    # own time, and for the postmaster that of the children it has buried
                    total += sum(map(int, fields[11:15] if int(entry.name) == self.postmaster else fields[11:13]))
        return total / _TICKS_PER_S


@contextmanager
def running_server() -> Iterator[Server]:
    """A server in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-bench-", dir="/tmp"))
    # as root, PostgreSQL runs as a user of its own, which must get through
    folder.chmod(0o755)
    embedded = start_embedded(folder)
    embedded.hold()
    try:
        yield Server(embedded, int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    finally:
        embedded.release()
        shutil.rmtree(folder, ignore_errors=True)
