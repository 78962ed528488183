import re
from pathlib import Path

import pytest

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.sandbox.control import read_script
from ensemble_pipeline.sandbox.faults import Fault, FaultKind

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE, MANUAL = DOCS / "examples" / "faults.json", DOCS / "operations.md"


def test_example_is_a_script() -> None:
    faults = read_script(EXAMPLE)
    assert {fault.target for fault in faults} == {"xai", "openai", "anthropic", "openrouter", "local", "kalshi"}


def test_manual_has_every_kind_and_every_field() -> None:
    section = MANUAL.read_text(encoding="utf-8").partition("## Faults on request")[2].partition("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(FaultKind) | set(Fault.model_fields)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ('{"target": "xai"}', "must hold a list of faults"),
        ('[{"target": "xai", "kind": "html"}, {"target": "xai", "kind": "html", "share": 2}]', "fault 2: share: "),
    ],
)
def test_file_that_is_no_script_is_refused_by_its_name(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "faults.json"
    file.write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        read_script(file)
    assert str(file) in str(caught.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_script(tmp_path)
