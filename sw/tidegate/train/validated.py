"""Frozen descriptions, such as a recipe, whose fields pydantic checks.  A mistake is a DataError of one line."""

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WrapValidator
from pydantic.dataclasses import dataclass

from .errors import DataError

T = TypeVar("T")
HUGE = 10**9
_UNKNOWN = "unexpected_keyword_argument"
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _as_given(value: Any, check: Callable) -> Any:
    check(value)
    return value


def _ordered(pair: tuple) -> tuple:
    if pair[0] > pair[1]:
        raise ValueError(f"is the lowest and the highest, not {pair[0]:g} and {pair[1]:g}")
    return pair


Number = Annotated[float, WrapValidator(_as_given)]        # 8 stays 8: the key of a sweep's point depends on it
Nonnegative = Annotated[Number, Field(ge=0)]
Amount = Annotated[Nonnegative, Field(le=HUGE)]
Share = Annotated[Nonnegative, Field(le=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Frames = Annotated[int, Field(ge=0, le=10_000)]
Spread = Annotated[Nonnegative, Field(le=200)]                 # dB
Level = Annotated[Number, Field(ge=-200, le=200)]           # dB
Rate = Annotated[Number, Field(ge=1e-15, le=10)]
Ordered = AfterValidator(_ordered)
Levels = Annotated[tuple[Level, Level], Ordered]


@dataclass_transform(frozen_default=True)
def validated(title: str):
    """Make a class a frozen dataclass that refuses fields of another type or out of range, and unknown fields.

    ``title``: beginning of every message; it may name given fields, such as ``"recipe {name!r}: "``.  Validators and
    ``__post_init__`` refuse with a ValueError, which becomes a DataError of one line.
    """
    def decorate(kind: type[T]) -> type[T]:
        made: Any = dataclass(frozen=True, config=_STRICT)(kind)
        make = made.__init__

        def init(self, *args, **given) -> None:
            try:
                make(self, *args, **given)
            except ValidationError as error:
                raise DataError(_line(error, made, {"name": "".join(map(str, args[:1]))} | given)) from None

        made.__init__, made.__title__ = init, title
        return made
    return decorate


def from_json(kind: type[T], d: dict[str, Any]) -> T:
    """A description of the class ``kind`` from a JSON object; DataError if it is none.

    Objects in it become descriptions, and lists become tuples.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(d))
    except ValidationError as error:
        raise DataError(_line(error, kind, {"name": ""} | d)) from None


def refuse(wrong: object, why: str) -> None:
    """Raise a ValueError, whose text the DataError of a description repeats, if ``wrong``; for ``__post_init__``."""
    if wrong:
        raise ValueError(why)


def _line(error: ValidationError, kind: Any, given: dict[str, Any]) -> str:
    """The first mistake: the field, what is allowed, and what was given."""
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != _UNKNOWN)       # a typo explains the rest
    path = [name for name in first["loc"] if isinstance(name, str)]
    field, message, value = ".".join(path), first["msg"], json.dumps(first["input"], ensure_ascii=False, default=repr)
    allowed = kind.__pydantic_fields__[path[0]].description if path and path[0] in kind.__pydantic_fields__ else None
    if first["type"] in ("value_error", "json_invalid"):
        message = f"{field} {message.removeprefix('Value error, ')}".lstrip()
    elif first["type"] == "missing":
        message = f"{field} is missing" if first["loc"][-1] == path[-1] else f"{field} lacks a value; it is {value}"
    elif allowed:
        message = f"{path[0]} must be {allowed}; {value} is wrong"
    elif first["type"] == _UNKNOWN:
        message = f"there is no field '{field}'; known are {', '.join(_known(kind, path[:-1]))}"
    else:
        message = re.sub(r"^\w+ should", f"{field} must", message).replace(" after validation", "")
        message += "" if ", not " in message else f", not {value}"
    return kind.__title__.format(**given) + message


def _known(kind: Any, path: list[str]) -> list[str]:
    for name in path:
        hint = get_type_hints(kind)[name]
        kind = next(h for h in (hint, *get_args(hint)) if is_dataclass(h))
    return [f.name for f in fields(kind)]
