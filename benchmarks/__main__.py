"""Run all benchmarks, or those named: ``python -m benchmarks [name ...]``."""

import importlib
import pkgutil
import sys

import benchmarks


def main(asked: list[str]) -> int:
    """Print what each benchmark found; 2 where a name is unknown."""
    # names that begin with "_" are parts of benchmarks
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")
    if unknown := sorted(set(asked) - set(known)):
        print(f"no such benchmark: {', '.join(unknown)}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in asked or known:
        print(importlib.import_module(f"benchmarks.{name}").run(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
