"""Loading the definitions against importing Dagster alone, in CPU seconds of fresh interpreters.

Every process of an instance (code server, each run) pays it before it does anything.
"""

import os
import resource
import statistics
import subprocess
import sys

REPEATS = 9


def run() -> str:
    """Alternate both, so that other work on the machine weighs on both alike."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    modules = ("dagster", "ensemble_pipeline.definitions")
    spent: dict[str, list[float]] = {module: [] for module in modules}
    for module in modules:
        _import(module, environment)  # writes the bytecode
    for _ in range(REPEATS):
        for module in modules:
            spent[module].append(_import(module, environment))
    dagster, ours = (statistics.median(spent[module]) for module in modules)
    return (
        f"imports: definitions {ours:.3f} CPU s, `import dagster` alone {dagster:.3f} CPU s, ratio {ours / dagster:.2f}"
    )


def _import(module: str, environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
