"""Reading and validation of TOML; every error names the source, the key, its value and what was expected."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ffstream.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
# Position of a key in nested values: ("server", "port").
Place: TypeAlias = tuple[int | str, ...]


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file without validating its keys.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


def validate(model: type[Model], values: Mapping[str, Any], name: str) -> Model:
    """Validate nested values as one of the models of a TOML file; ``name`` is their source in errors.

    Raises
    ------
    ConfigError
        With one line per error: ``name``, the key, its value and what was expected.
    """
    return validate_from(model, values, lambda _: name)


def validate_from(model: type[Model], values: Mapping[str, Any], origin: Callable[[Place], str]) -> Model:
    """Validate nested values from several sources; ``origin`` returns the name of a key's source.

    Raises
    ------
    ConfigError
        As ``validate`` does.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = (f"{origin(one['loc'])}: {_explain(model, dict(one))}" for one in error.errors())
        raise ConfigError("\n".join(lines)) from error


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        said, held = error["msg"].removeprefix("Value error, "), error["input"]
        # An error of a whole table names the keys, so the table need not be shown.
        shown = said if isinstance(held, Mapping) else f"{said}, not {held!r}"
        return f"{where}: {shown}" if where else said
    *section, key = error["loc"]
    known, parts = model, iter(section)
    for part in parts:
        if isinstance(part, str):
            annotation: Any = known.model_fields[part].annotation
            # A list of tables holds tables of one kind, and so does a dict of tables, whose key is the next part.
            held = [inner for inner in get_args(annotation) if isinstance(inner, type) and issubclass(inner, BaseModel)]
            known = held[0] if held else annotation
            if get_origin(annotation) is dict:
                next(parts)
    near = difflib.get_close_matches(str(key), known.model_fields, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known.model_fields)}"
    return f"{where}: unknown key; {advice}"
