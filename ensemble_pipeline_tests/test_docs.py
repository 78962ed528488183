"""The documentation agrees with the code: settings, links, variables, commands and examples."""

import ast
import doctest
import re
from pathlib import Path

import pytest

from ensemble_pipeline.cli import cli
from ensemble_pipeline.settings_reference import main, reference, variables

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?P<target>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
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


def test_settings_page_names_every_variable() -> None:
    shown = reference()

    groups = {"ENSEMBLE_PROVIDERS", "ENSEMBLE_BUDGET", "ENSEMBLE_GATES", "ENSEMBLE_SIZING", "ENSEMBLE_SCAN"}
    absent = [name for name in variables() - groups - {"ENSEMBLE_ENSEMBLE"} if f"`{name}`" not in shown]
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
        known = {option for parameter in cli.commands[command].params for option in parameter.opts}
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
