"""The examples in docstrings are part of the tests."""

import doctest
import importlib
import pkgutil

import pytest

from ensemble_pipeline import forecasting

MODULES = sorted(f"{forecasting.__name__}.{module.name}" for module in pkgutil.iter_modules(forecasting.__path__))


@pytest.mark.parametrize("name", [*MODULES, "ensemble_pipeline.clock", "ensemble_pipeline.domain"])
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith(".arrays")])
def test_every_public_numeric_function_carries_an_example(name: str) -> None:
    module = importlib.import_module(name)
    bare = [
        function.name
        for function in doctest.DocTestFinder(exclude_empty=False).find(module)
        if not function.examples and _is_public_formula(module, function.name.removeprefix(f"{name}."))
    ]
    assert not bare


def _is_public_formula(module: object, name: str) -> bool:
    found = getattr(module, name, None)
    return not name.startswith("_") and callable(found) and not isinstance(found, type)
