"""Which code decided: the release, and a digest of what decisions are made by."""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from ensemble_pipeline import __version__

_PARTS = ("domain.py", "settings.py", "forecasting", "ensemble", "venues/kalshi/fees.py")


@cache
def code_version() -> str:
    """Release and first twelve hex digits of the SHA-256 of the deciding modules, as ``0.1.0+0123456789ab``."""
    digest = hashlib.sha256()
    root = files("ensemble_pipeline")
    for part in _PARTS:
        for source in _sources(root.joinpath(*part.split("/"))):
            digest.update(source.name.encode())
            digest.update(source.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _sources(entry: Traversable) -> list[Traversable]:
    if entry.is_file():
        return [entry]
    return sorted((it for it in entry.iterdir() if it.name.endswith(".py")), key=lambda it: it.name)
