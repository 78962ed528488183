import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.embedded import EmbeddedServer, start_embedded


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_start_when_folder_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DatabaseError, match=r"taken/data cannot be used: .+ Name another in ENSEMBLE_DATA_DIR"):
        start_embedded(tmp_path / "taken" / "data")


def test_start_when_disk_is_nearly_full_says_how_much_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 2**20, 2**20))
    with pytest.raises(DatabaseError, match=r"has 1 MB left, PostgreSQL needs 512 MB: free some"):
        start_embedded(tmp_path)
    assert not (tmp_path / "postgres").exists()


def test_ensure_database_when_asked_for_at_once_makes_one(server: EmbeddedServer) -> None:
    gate = threading.Barrier(4)
    urls: list[str] = []

    def ask() -> None:
        gate.wait()
        urls.append(server.ensure_database("shared"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert urls == [server.url("shared")] * 4
    server.drop_database("shared")
    server.drop_database("shared")


def test_release_when_another_still_holds_leaves_the_server_running(server: EmbeddedServer) -> None:
    other = start_embedded(server.data_dir)
    assert not other.release()
    other.hold()
    assert not other.release()
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_release_when_nobody_else_holds_stops_the_server_and_a_start_finds_the_data(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("own")
    for parent in (folder, *list(folder.parents)[:2]):
        parent.chmod(0o755)
    started = start_embedded(folder)
    started.hold()
    started.ensure_database("kept")
    assert started.release()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(started.url("kept"), connect_timeout=2)
    script = (
        "import sys; from pathlib import Path; import psycopg\n"
        "from ensemble_pipeline.store.embedded import start_embedded;"
        "server = start_embedded(Path(sys.argv[1])); server.hold(); psycopg.connect(server.url('kept')).close();"
        "print(server.release())"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True"]
