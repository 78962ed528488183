"""Writes docs/settings.md from the settings themselves: ``python -m ensemble_pipeline.settings_reference [FILE]``.

Belongs here: how a setting is shown. Does not: what a setting means, which stands beside it in ``settings``.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ensemble_pipeline.settings import (
    DEFAULT_MEMBERS,
    DEFAULT_PROVIDERS,
    MemberSettings,
    ProviderSettings,
    Settings,
)

PREFIX = "ENSEMBLE_"
NESTED = "__"

_INTRODUCTION = f"""\
<!-- Written by `python -m ensemble_pipeline.settings_reference`; edit settings.py instead. -->
# Settings

Every setting is an environment variable. There is no settings file, and none is read from the working folder.
A group's settings carry the group's name and two underscores: `{PREFIX}BUDGET{NESTED}DAY_HARD_USD=5`.
A value that does not fit ends the start with a message that names the variable. A variable that begins with
`{PREFIX}` but names no setting and no group is ignored.

Money is in dollars, times are UTC. Each decision keeps the SHA-256 of the settings it was made under, and
`settings_snapshots` keeps the settings themselves, without the database address, the data folder or any key.

`ensemble demo` sets some of these for the world it plays, whatever the environment says: `{PREFIX}KALSHI_BASE_URL`,
`{PREFIX}MEMBERS`, the base URLs and keys of the providers, `{PREFIX}ENSEMBLE{NESTED}MEMBER_POLICY`,
`{PREFIX}HISTORY_START`, `{PREFIX}HISTORY_END`; for an archive `{PREFIX}SCAN{NESTED}REASSESS_HOURS` and
`{PREFIX}SCAN{NESTED}MAX_HORIZON_DAYS`; and with `--members all` `{PREFIX}BUDGET{NESTED}DECISION_USD`.
"""

_PROVIDERS = f"""\
A provider is named in the variable: `{PREFIX}PROVIDERS{NESTED}XAI{NESTED}TIMEOUT_S=60` changes one field of a built-in
provider, a new name adds a provider. Keys are not settings: `api_key_env` names the environment variable that holds
the key, so that no settings snapshot can hold one.
"""

_MEMBERS = f"""\
`{PREFIX}MEMBERS` is one JSON list that replaces the built-in members as a whole. One member has these fields:
"""

_MEMBERS_EXAMPLE = f"""\
For example, one model on a local server:

```bash
export {PREFIX}MEMBERS='[{{"name": "local-llama", "provider": "local", "model": "llama3.2",
  "input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}}]'
```
"""

# a default that depends on the machine is described, not evaluated
_DESCRIBED_DEFAULTS = {
    "data_dir": "`/var/lib/ensemble_pipeline` as root; else `$XDG_DATA_HOME/ensemble_pipeline`, "
    "or `~/.local/share/ensemble_pipeline` where that is unset"
}

_TYPE_NAMES = {
    "str": "text",
    "float": "number",
    "int": "whole number",
    "bool": "true or false",
    "Decimal": "number",
    "Path": "folder",
}
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_PATTERN_NAMES = {r"^https?://\S+$": "http(s) URL", r"^\d{4}-\d\d-\d\d$": "`YYYY-MM-DD`"}


def reference() -> str:
    """The whole document."""
    parts = [_INTRODUCTION, _section("The instance", "", _scalars(Settings), PREFIX)]
    for name, field in _groups(Settings):
        parts.append(_section(name.capitalize(), _doc(field), _fields(field), f"{PREFIX}{name.upper()}{NESTED}"))
    prefix = f"{PREFIX}PROVIDERS{NESTED}<NAME>{NESTED}"
    parts.append(_section("Providers", _PROVIDERS, ProviderSettings.model_fields.items(), prefix))
    parts.append(f"Built in:\n\n{_table(_built_in_providers())}")
    parts.append(f"## Members\n\n{_MEMBERS}\n{_table(_rows(MemberSettings.model_fields.items(), '', 'field'))}")
    parts.append(f"Built in:\n\n{_table(_built_in_members())}")
    parts.append(_MEMBERS_EXAMPLE)
    return "\n".join(part.rstrip() + "\n" for part in parts)


def variables() -> frozenset[str]:
    """The names of all variables that are read; those of providers stand once, with ``<NAME>`` in place of the name."""
    names = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name, field in _groups(Settings):
        names.extend(f"{PREFIX}{name.upper()}{NESTED}{inner.upper()}" for inner, _ in _fields(field))
    names.extend(f"{PREFIX}PROVIDERS{NESTED}<NAME>{NESTED}{inner.upper()}" for inner in ProviderSettings.model_fields)
    return frozenset(names)


def _scalars(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    grouped = {name for name, _ in _groups(model)} | {"providers", "members"}
    return ((name, field) for name, field in model.model_fields.items() if name not in grouped)


def _groups(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((name, field) for name, field in model.model_fields.items() if isinstance(field.default, BaseModel))


def _fields(group: FieldInfo) -> Iterable[tuple[str, FieldInfo]]:
    model: type[BaseModel] = type(group.default)
    return model.model_fields.items()


def _doc(group: FieldInfo) -> str:
    return type(group.default).__doc__ or ""


def _section(title: str, text: str, fields: Iterable[tuple[str, FieldInfo]], prefix: str) -> str:
    return "\n\n".join(
        part for part in (f"## {title}", text.strip(), _table(_rows(fields, prefix, "variable"))) if part
    )


def _rows(fields: Iterable[tuple[str, FieldInfo]], prefix: str, kind: str) -> list[list[str]]:
    shown = [
        [
            f"`{prefix}{name.upper() if prefix else name}`",
            _default(name, field),
            _allowed(field.annotation, field.metadata),
            field.description or "",
        ]
        for name, field in fields
    ]
    return [[kind, "default", "allowed", "meaning"], *shown]


def _built_in_providers() -> list[list[str]]:
    rows = [["provider", "dialect", "base URL", "key in", "calls at once", "timeout in s"]]
    for name, given in DEFAULT_PROVIDERS.items():
        it = ProviderSettings(**given)
        key = f"`{it.api_key_env}`" if it.api_key_env else "none"
        rows.append([f"`{name}`", it.dialect, f"`{it.base_url}`", key, str(it.max_concurrency), f"{it.timeout_s:g}"])
    return rows


def _built_in_members() -> list[list[str]]:
    filled = [MemberSettings(**given) for given in DEFAULT_MEMBERS]
    rows = [
        [f"`{it.name}`", it.provider, f"`{it.model}`", f"`{it.role}`", "yes" if it.is_enabled else "no"]
        for it in filled
    ]
    return [["member", "provider", "model", "role", "enabled"], *rows]


def _default(name: str, field: FieldInfo) -> str:
    if name in _DESCRIBED_DEFAULTS:
        return _DESCRIBED_DEFAULTS[name]
    if field.default_factory is dict:
        return "`{}`"
    if field.default is PydanticUndefined:
        return "–"
    if field.default is None:
        return "unset"
    if isinstance(field.default, tuple):
        return "`[]`"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _allowed(annotation: object, metadata: Iterable[object]) -> str:
    """What a value may be, in words: a type's name with its bounds, or the choices."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _allowed(arguments[0], [*arguments[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_allowed(it, metadata) for it in arguments if it is not type(None))
    if origin in (tuple, dict):
        return "JSON list" if origin is tuple else f"JSON object by name: {_allowed(arguments[1], metadata)}"
    flat = list(_flatten(metadata))
    for pattern in (getattr(item, "pattern", None) for item in flat):
        if pattern is not None:
            return _PATTERN_NAMES[pattern]
    name = _TYPE_NAMES.get(getattr(annotation, "__name__", ""), "text")
    return f"{name} {_bounds(flat)}".strip()


def _flatten(metadata: Iterable[object]) -> Iterator[object]:
    # a field's own constraints come bare, those of a type alias inside a FieldInfo
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def _bounds(constraints: Iterable[object]) -> str:
    """The tightest lower and upper bound."""
    found = [(sign, getattr(item, sign)) for item in constraints for sign in _SIGNS if hasattr(item, sign)]
    low = max((it for it in found if it[0] in ("ge", "gt")), key=_bound_value, default=None)
    high = min((it for it in found if it[0] in ("le", "lt")), key=_bound_value, default=None)
    return ", ".join(f"{_SIGNS[it[0]]} {it[1]}" for it in (low, high) if it is not None)


def _bound_value(bound: tuple[str, Any]) -> float:
    return float(bound[1])


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: list[str]) -> None:
    """Write the document to the named file, by default docs/settings.md below the working folder."""
    target = Path(arguments[0]) if arguments else Path("docs") / "settings.md"
    target.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
