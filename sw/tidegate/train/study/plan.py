"""What a sweep trains: a JSON description, validated, and the points that it expands to.

    name       of the sweep and of its folder of results: letters, digits, ``-``, ``_``, ``.``
    about      a sentence for the reader
    data       name of the data set it is meant for; ``data/NAME`` is where it is looked for
    recipe     what all points have in common: name of a shipped model, a file (seen from the sweep's) or an object
    vary       {field: [values]}: every combination; "augmentation.context" reaches into a nested object
    variants   [{"label": text, "set": {field: value}}]: groups of changes, each crossed with ``vary``
    theta      settings of Θ at which every trained model is evaluated: a list with one Θ per signal, or a factor on
               the model's own; default [1]
    margins    of the stop rule, in units of the logits, at which every trained model decides early at every Θ, or null
               for the whole clip; default none
    speakers   each is left out in turn (``data.scan``), or "each" for all; crossed with the rest
"""

import json
import math
import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from tidegate import zoo
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import THETA_MAX, whole_theta
from tidegate.spec.stop import Stop

from ..errors import DataError
from ..recipe import Recipe, fits

_PROSE = ("about", "attribution", "limits")     # of a recipe
EACH = "each"
_SHIPPED = Path(__file__).parents[2] / "sweeps"
_FIELDS = ("name", "about", "data", "recipe", "vary", "variants", "theta", "margins", "speakers")
Setting = float | tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """One training: ``label`` of its variant, ``speaker`` left out ("": none), ``varied``: field → value as text."""

    recipe: Recipe
    label: str
    speaker: str
    varied: dict[str, str]

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that change with anything that is trained otherwise, and with the version of tidegate;
        prose changes nothing."""
        recipe = {name: value for name, value in self.recipe.to_dict().items() if name not in _PROSE}
        return sha256(_canonical([_version(), recipe, self.speaker, self.label]).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        parts = [self.label, *(f"{k}={v}" for k, v in self.varied.items()), self.speaker and f"without {self.speaker}"]
        return " ".join(p for p in parts if p) or self.recipe.name


def _version() -> str:
    """Of the installed package; "" if it is not installed."""
    try:
        return version("tidegate")
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Plan:
    """A sweep's description.  ``recipe``: all its fields; ``speakers``: None without, EACH, or the names."""

    name: str
    about: str
    data: str
    recipe: dict
    vary: dict[str, list]
    variants: tuple[tuple[str, dict], ...]
    theta: tuple[Setting, ...]
    speakers: str | tuple[str, ...] | None
    margins: tuple[float | None, ...] = ()

    def points(self, speakers: Iterable[str] = ("",)) -> list[Point]:
        """Every point, in the order of the description; ``speakers``: to leave out, "" for nobody.

        DataError if a combination makes no recipe, is there twice, or has another number of signals than a Θ.
        """
        points, seen = [], {}
        for (label, changes), *values in product(self.variants, *self.vary.values()):
            varied = dict(zip(self.vary, values, strict=True))
            recipe = self._recipe(label, changes | varied)
            texts = {field: compact(value) for field, value in varied.items()}
            for speaker in speakers:
                point = Point(recipe, label, speaker, texts)
                if point.key in seen:
                    raise DataError(f"sweep '{self.name}': the point '{point}' is there twice; change 'vary'")
                seen[point.key] = point
                points.append(point)
        return points

    def _recipe(self, label: str, changes: dict) -> Recipe:
        d = deepcopy(self.recipe)
        for field, value in changes.items():
            *path, last = field.split(".")
            inner = d
            for name in path:
                inner = inner[name]
            inner[last] = deepcopy(value)
        try:
            recipe = Recipe.from_dict(d)
        except TidegateError as error:
            at = " ".join([label, *(f"{k}={compact(v)}" for k, v in changes.items())]).strip()
            raise DataError(f"sweep '{self.name}': no recipe at '{at}': {error}") from None
        if recipe.listening is not None:
            raise DataError(f"sweep '{self.name}': recipe '{recipe.name}' trains on streams, which no sweep does yet; "
                            "run `tidegate train` with each --seed")
        for setting in self.theta:
            if isinstance(setting, tuple) and len(setting) != len(recipe.thresholds):
                raise DataError(f"sweep '{self.name}': 'theta' has {list(setting)}, but a network with "
                                f"{len(recipe.gru)} layers has {len(recipe.thresholds)} signals")
        for margin in self.margins:
            try:
                Stop.of(margin or 0, recipe.classifier_frac, ("",))
            except TidegateError as error:
                raise DataError(f"sweep '{self.name}': 'margins': {error}") from None
        return recipe

    def to_dict(self) -> dict:
        """As JSON: the description with its recipe spelled out, so that it stands alone."""
        d: dict[str, Any] = {"name": self.name, "about": self.about, "data": self.data, "recipe": self.recipe,
                             "vary": self.vary}
        if self.variants != _NO_VARIANTS:
            d["variants"] = [{"label": label, "set": changes} for label, changes in self.variants]
        d["theta"] = [list(s) if isinstance(s, tuple) else s for s in self.theta]
        if self.margins:
            d["margins"] = list(self.margins)
        if self.speakers is not None:
            d["speakers"] = EACH if self.speakers == EACH else list(self.speakers)
        return d


_NO_VARIANTS = (("", {}),)


def names() -> tuple[str, ...]:
    """Names of the sweeps that ship."""
    return tuple(sorted(p.stem for p in _SHIPPED.glob("*.json")))


def read_plan(name_or_path: str | Path) -> Plan:
    """A sweep that ships, or a JSON file; DataError with one line that names what is wrong."""
    path = Path(name_or_path)
    if path.suffix != ".json":
        if str(name_or_path) not in names():
            raise DataError(f"no sweep '{name_or_path}'; there are {', '.join(names()) or 'none'}; "
                            "or give a JSON file, NAME.json")
        path = _SHIPPED / f"{name_or_path}.json"
    try:
        d = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no sweep '{path}'; give a JSON file, or a name without .json: "
                        f"{', '.join(names()) or 'none ships'}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no sweep ({error}); it must be JSON") from None
    return make_plan(d, path.stem, path.parent)


def make_plan(d: Any, name: str = "", folder: str | Path = ".") -> Plan:
    """From a description; ``name`` if it has none, ``folder``: where a recipe's file is."""
    if not isinstance(d, dict):
        raise DataError(f"sweep '{name}': it must be a JSON object")
    name = d.get("name", name)
    reader = _Reader(name)
    reader.need(isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name), "'name' must be letters, digits, - _ .")
    for field in d:
        reader.need(field in _FIELDS, f"there is no field '{field}'; known are {', '.join(_FIELDS)}")
    for field in ("about", "data"):
        reader.need(isinstance(d.get(field, ""), str), f"'{field}' must be text")
    reader.need("recipe" in d, "'recipe' is missing: name a shipped model or a file, or give an object")
    vary = reader.vary(d.get("vary", {}))
    return Plan(name, d.get("about", ""), d.get("data", ""), reader.recipe(d["recipe"], Path(folder)), vary,
                reader.variants(d["variants"], vary) if "variants" in d else _NO_VARIANTS,
                reader.theta(d.get("theta", [1])), reader.speakers(d["speakers"]) if "speakers" in d else None,
                reader.margins(d["margins"]) if "margins" in d else ())


def thresholds_at(setting: Setting, own: Iterable[int]) -> tuple[int, ...]:
    """Θ per signal (LSBs) at a setting of ``theta``; ``own``: the model's, for a factor to turn (``whole_theta``)."""
    return setting if isinstance(setting, tuple) else tuple(whole_theta(setting * t) for t in own)


def compact(value: Any) -> str:
    """A value as text on one line: a list of numbers as "64 32", printable text as it is, all else as JSON."""
    if isinstance(value, list | tuple) and value and all(fits(x, float) for x in value):
        return " ".join(map(compact, value))
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class _Reader:
    """Checks the fields of one description; every complaint names the sweep and the field."""

    def __init__(self, name: Any):
        self.name = name

    def need(self, condition: Any, message: str) -> None:
        if not condition:
            raise DataError(f"sweep '{self.name}': {message}")

    def recipe(self, value: Any, folder: Path) -> dict:
        if isinstance(value, str):
            recipe = Recipe.read(folder / value if value.endswith(".json") else zoo.recipe_path(value))
            return json.loads(json.dumps(recipe.to_dict()))
        self.need(isinstance(value, dict), "'recipe' must be text or an object")
        for field, content in value.items():
            self.field("recipe", field, content)
        try:
            return json.loads(json.dumps(Recipe.from_dict({"name": self.name} | value).to_dict()))
        except TidegateError as error:
            raise DataError(f"sweep '{self.name}': 'recipe': {error}") from None

    def vary(self, value: Any) -> dict:
        self.need(isinstance(value, dict), "'vary' must be an object: {field: [values]}")
        for field, values in value.items():
            self.need(isinstance(values, list) and values, f"'vary' must give '{field}' a list of values")
            for x in values:
                self.field("vary", field, x)
        return value

    def variants(self, value: Any, vary: dict) -> tuple[tuple[str, dict], ...]:
        self.need(isinstance(value, list) and value, "'variants' must be a list of {\"label\": text, \"set\": {}}")
        found = {}
        for v in value:
            self.need(isinstance(v, dict) and set(v) == {"label", "set"} and isinstance(v["set"], dict),
                      "'variants': each must have a 'label' and a 'set', and nothing else")
            label = v["label"]
            self.need(isinstance(label, str) and label and label.isprintable(), "'variants': a 'label' must be text")
            self.need(label not in found, f"'variants': the label '{label}' is there twice")
            for field, x in v["set"].items():
                self.field(f"variants, {label}", field, x)
                self.need(field not in vary, f"'{field}' is in 'vary' and in the variant '{label}'; choose one")
            found[label] = v["set"]
        return tuple(found.items())

    def theta(self, value: Any) -> tuple[Setting, ...]:
        self.need(isinstance(value, list) and value, "'theta' must be a list of factors and lists of Θ")
        for setting in value:
            if isinstance(setting, list):
                fine = setting and all(fits(t, int) and 0 <= t <= THETA_MAX for t in setting)
                self.need(fine, f"'theta': {setting} must be whole numbers from 0 to {THETA_MAX}, one per signal")
            else:
                self.need(fits(setting, float) and 0 <= setting < math.inf,
                          f"'theta': {setting!r} must be a factor of 0 or more, or a list of Θ")
        return tuple(tuple(s) if isinstance(s, list) else s for s in value)

    def margins(self, value: Any) -> tuple[float | None, ...]:
        self.need(isinstance(value, list) and value, "'margins' must be a list of leads, or null for the whole clip")
        for margin in value:
            self.need(margin is None or (fits(margin, float) and 0 <= margin < math.inf),
                      f"'margins': {margin!r} must be a lead of 0 or more, or null")
        self.need(len(set(value)) == len(value), f"'margins': one of {value} is there twice")
        return tuple(value)

    def speakers(self, value: Any) -> str | tuple[str, ...]:
        names = isinstance(value, list) and value and all(isinstance(s, str) and s for s in value)
        self.need(value == EACH or names, f"'speakers' must be \"{EACH}\" or a list of names")
        return EACH if value == EACH else tuple(value)

    def field(self, where: str, field: str, value: Any) -> None:
        """Complain unless a recipe has such a field and the value is of its type."""
        hint: Any = Recipe
        for name in field.split("."):
            known = [f.name for f in fields(hint)] if is_dataclass(hint) else []
            self.need(name in known, f"'{where}': a recipe has no field '{field}'"
                      + (f"; known are {', '.join(known)}" if known else ""))
            hint = get_type_hints(hint)[name]
        self.need(fits(value, hint), f"'{where}': '{field}' cannot be {json.dumps(value, ensure_ascii=False)}")
        if is_dataclass(hint):
            for name, content in value.items():
                self.field(where, f"{field}.{name}", content)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
