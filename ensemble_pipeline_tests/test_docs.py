"""The documentation agrees with the code: settings, links, variables, commands and examples."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ensemble_pipeline.cli import cli
from ensemble_pipeline.ensemble.modes_reference import BEGIN
from ensemble_pipeline.ensemble.modes_reference import main as write_modes
from ensemble_pipeline.settings_reference import main, reference, variables

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ensemble_pipeline"
FORMULAS = [path for path in sorted((PACKAGE / "forecasting").glob("[a-z]*.py")) if path.stem != "arrays"]
MATHEMATICS = (ROOT / "docs" / "math.md").read_text(encoding="utf-8")
UNUSED = "## Present in the package, not used by the pipeline"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?P<target>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_SOURCE = re.compile(r"\[`(?P<name>[^`]+)`\]\((?P<path>[^)#\s]+\.py)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_VARIABLE = re.compile(r"ENSEMBLE_[A-Z][A-Z0-9_]*(?:<NAME>[A-Z_]*)?")
_PROVIDER = re.compile(r"(?<=ENSEMBLE_PROVIDERS__)[A-Z0-9]+(?=__)")


def _blocks(text: str, kind: str) -> list[str]:
    return [found["body"] for found in _FENCE.finditer(text) if found["kind"].strip() == kind]


def _code(text: str) -> str:
    """Everything a reader may take for a command: fenced blocks and inline code."""
    return "\n".join([*(found["body"] for found in _FENCE.finditer(text)), *_INLINE.findall(_FENCE.sub("", text))])


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_settings_page_is_what_the_generator_writes_now(tmp_path: Path) -> None:
    written = tmp_path / "settings.md"

    main([str(written)])

    assert written.read_text(encoding="utf-8") == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), (
        "write docs/settings.md again: python -m ensemble_pipeline.settings_reference"
    )


def test_table_of_modes_in_the_operations_page_is_what_the_code_asks(tmp_path: Path) -> None:
    page = ROOT / "docs" / "operations.md"
    written = tmp_path / "operations.md"
    written.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")

    write_modes([str(written)])

    assert written.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), (
        "write the table again: python -m ensemble_pipeline.ensemble.modes_reference"
    )


def test_page_without_a_place_for_the_table_of_modes_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "operations.md"
    page.write_text(f"{BEGIN}\nno end", encoding="utf-8")
    with pytest.raises(ValueError, match="no place for the table"):
        write_modes([str(page)])


def test_settings_page_names_every_variable() -> None:
    shown = reference()

    groups = {name for name in variables() if any(it.startswith(f"{name}__") for it in variables())}
    absent = [name for name in variables() - groups if f"`{name}`" not in shown]
    assert not absent


def test_relative_links_resolve(page: Path, text: str) -> None:
    broken = []
    for link in _LINK.finditer(text):
        target, anchor = link["target"], link["anchor"]
        if "://" in target:
            continue
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(link[0])
    assert not broken


def test_variables_mentioned_exist(text: str) -> None:
    named = {_PROVIDER.sub("<NAME>", name) for name in _VARIABLE.findall(text)}

    assert not named - variables()


def test_make_targets_mentioned_exist(text: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert not set(re.findall(r"\bmake ([a-z][a-z-]*)", _code(text))) - targets


def test_ensemble_commands_mentioned_exist(text: str) -> None:
    assert not set(re.findall(r"(?:^|[ /])ensemble ([a-z]+)\b", _code(text), re.MULTILINE)) - set(cli.commands)


def test_options_of_ensemble_commands_mentioned_exist(text: str) -> None:
    unknown = []
    for command, rest in re.findall(r"\bensemble ([a-z]+)((?: [^\n`]|\\\n)*[^\n`]*)", _code(text).replace("\\\n", " ")):
        named = cli.commands[command]
        commands = [named, *(named.commands.values() if isinstance(named, click.Group) else ())]
        known = {option for it in commands for parameter in it.params for option in parameter.opts}
        unknown += [option for option in re.findall(r"--[a-z-]+", rest.partition("#")[0]) if option not in known]
    assert not unknown


def test_python_examples_can_be_read(text: str) -> None:
    for block in _blocks(text, "python"):
        ast.parse(block)


def test_python_examples_marked_run_give_what_they_show(page: Path, text: str) -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    for number, block in enumerate(_blocks(text, "python run"), start=1):
        runner.run(parser.get_doctest(block, {}, f"{page.name} example {number}", str(page), 0))
    assert runner.summarize(verbose=False).failed == 0


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")

    absent = [path.name for path in (ROOT / "docs" / "adr").glob("0*.md") if f"({path.name})" not in index]
    assert not absent


def test_functions_and_tests_that_the_mathematics_links_exist() -> None:
    broken = []
    for name, path in _sources(MATHEMATICS):
        file, is_test, rest = name.partition("::")
        place = file if is_test else f"{file.partition('.')[0]}.py"
        is_there = place == path.name and path.exists() and _is_defined(path, rest or file.partition(".")[2])
        if not is_there or bool(is_test) != rest.startswith("test_"):
            broken.append(name)
    assert not broken


def test_every_formula_of_the_mathematics_is_linked_to_its_function_and_its_test() -> None:
    rows = list(_formula_rows())
    assert len(rows) > 80
    incomplete = [
        row["formula"]
        for row in rows
        if not any("::" not in name for name, _ in _sources(row["function"]))
        or not any("::" in name for name, _ in _sources(row["test"]))
    ]
    assert not incomplete


def test_mathematics_names_every_public_function_that_computes_something() -> None:
    linked = {(name, path) for name, path in _sources(MATHEMATICS)}

    absent = [
        f"{path.stem}.{function}"
        for path in FORMULAS
        for function in _public_functions(path)
        if (f"{path.stem}.{function}", path) not in linked
    ]
    assert not absent


def test_mathematics_says_what_the_pipeline_does_not_use() -> None:
    used: set[str] = set().union(*(_uses(path) for path in PACKAGE.rglob("*.py")))
    said = {_dotted(path, name.partition(".")[2]) for name, path in _sources(MATHEMATICS.partition(UNUSED)[2])}
    fees = PACKAGE / "venues" / "kalshi" / "fees.py"

    unused = {_dotted(path, name) for path in [*FORMULAS, fees] for name in _public_functions(path)} - used
    assert {name for name in said if ".test_" not in name} == unused


def _sources(text: str) -> list[tuple[str, Path]]:
    """What links into Python files call their target, and the file."""
    return [(link["name"], (ROOT / "docs" / link["path"]).resolve()) for link in _SOURCE.finditer(text)]


def _formula_rows() -> Iterator[dict[str, str]]:
    """The rows of every table that has functions and tests, by the names of its columns."""
    header: list[str] = []
    for line in MATHEMATICS.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells and not header:
            header = cells
        elif cells and {"function", "test"} <= set(header) and set(line) - set("|-"):
            yield dict(zip(header, cells, strict=True))
        elif not cells:
            header = []


def _definitions(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """What statements define: functions, classes with their bodies, and assigned names."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node.body
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = []
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
    return found


def _is_defined(path: Path, name: str) -> bool:
    body = _tree(path).body
    for part in name.split("."):
        defined = _definitions(body)
        if part not in defined:
            return False
        body = defined[part]
    return True


def _public_functions(path: Path) -> list[str]:
    return [
        node.name for node in _tree(path).body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def _uses(path: Path) -> set[str]:
    """Dotted names of the package that a module imports, reaches through an import, or uses of its own."""
    nodes = list(ast.walk(_tree(path)))
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    reached = {
        f"{imported[node.value.id]}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported
    }
    own = {_dotted(path, node.id) for node in nodes if isinstance(node, ast.Name)}
    return {*imported.values(), *reached, *own}


def _dotted(path: Path, name: str) -> str:
    return ".".join([*path.relative_to(ROOT).with_suffix("").parts, name])


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
