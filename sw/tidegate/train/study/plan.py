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
    bits       whether the significant bits per weight are counted, too (``golden.figures``); default false
    speakers   each is left out in turn (``data.folders.scan``), or "each" for all; crossed with the rest
"""

import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from tidegate import zoo
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import THETA_MAX, whole_theta
from tidegate.spec.stop import Stop

from ..errors import DataError
from ..recipe import WORDS, Recipe, Threshold
from ..tasks.primary import Primary
from ..tasks.registry import find_task
from ..validated import Nonnegative, from_json, refuse, validated

EACH = "each"
_SHIPPED = Path(__file__).parents[2] / "sweeps"
_PROSE = ("name", "about", "attribution", "limits")      # of a recipe
Name = Annotated[str, Field(min_length=1)]
Setting = Nonnegative | Annotated[tuple[Threshold, ...], Field(min_length=1)]


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError(f"has one of {list(values)} twice")
    return values


class Variant(NamedTuple):
    """A group of changes."""

    label: Annotated[str, Field(pattern=r"^[^\pC\p{Zl}\p{Zp}]+$")]        # one line of text
    set: dict[str, Any]


_NO_VARIANTS = (Variant("", {}),)


@dataclass(frozen=True)
class Point:
    """One training: ``label`` of its variant, ``speaker`` left out ("": none), ``varied``: field → value as text."""

    recipe: Recipe
    label: str
    speaker: str
    varied: dict[str, str]

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits; they depend on all that changes the training and on the version of tidegate, and not
        on the recipe's prose."""
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


@validated("sweep {name!r}: ")
class Plan:
    """A sweep's description.  ``recipe``: all its fields; ``speakers``: None without, EACH, or the names."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$", description="letters, digits, - _ .")]
    recipe: Annotated[dict[str, Any], Field(description="a shipped model's name, a file or an object")]
    about: str = ""
    data: str = ""
    vary: dict[str, Annotated[list, Field(min_length=1)]] = field(default_factory=dict)
    variants: Annotated[tuple[Variant, ...], Field(
        min_length=1, description='a list of {"label": text, "set": {field: value}}')] = _NO_VARIANTS
    theta: Annotated[tuple[Setting, ...], Field(
        min_length=1, description="a list of factors of 0 or more and lists of Θ, whole numbers from 0 to "
                                  f"{THETA_MAX}, one per signal")] = (1,)
    speakers: Annotated[Literal["each"] | Annotated[tuple[Name, ...], Field(min_length=1)] | None, Field(
        description='"each" or a list of names')] = None
    margins: Annotated[tuple[Nonnegative | None, ...], AfterValidator(_distinct), Field(
        min_length=1, description="a list of leads of 0 or more, or null for the whole clip")] = ()
    bits: bool = False

    def __post_init__(self) -> None:
        labels = [label for label, _ in self.variants]
        for label, changes in self.variants:
            refuse(labels.count(label) > 1, f"'variants': the label '{label}' is there twice")
            for name in changes:
                refuse(name in self.vary, f"'{name}' is in 'vary' and in the variant '{label}'; choose one")

    @property
    def primary(self) -> Primary:
        """The figure of the sweep's tables: that of its recipe's task, which all points share."""
        return find_task(self.recipe.get("task", WORDS)).primary

    def points(self, speakers: Iterable[str] = ("",)) -> list[Point]:
        """Every point, in the order of the description; ``speakers``: each is left out in turn, "" leaves out none.

        DataError if a combination is no recipe, is there twice, or has another number of signals than ``theta``.
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
        try:
            for name, value in changes.items():
                *path, last = name.split(".")
                inner: Any = d
                for step in path:
                    inner = inner.get(step) if isinstance(inner, dict) else None
                if not isinstance(inner, dict):
                    raise DataError(f"a recipe has no field '{name}'")
                inner[last] = deepcopy(value)
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
            d["variants"] = [variant._asdict() for variant in self.variants]
        d["theta"] = [list(s) if isinstance(s, tuple) else s for s in self.theta]
        if self.margins:
            d["margins"] = list(self.margins)
        if self.bits:
            d["bits"] = True
        if self.speakers is not None:
            d["speakers"] = EACH if self.speakers == EACH else list(self.speakers)
        return d


def sweep_names() -> tuple[str, ...]:
    """Names of the sweeps that ship."""
    return tuple(sorted(p.stem for p in _SHIPPED.glob("*.json")))


def read_plan(name_or_path: str | Path) -> Plan:
    """A sweep that ships, or a JSON file; DataError with one line that names what is wrong."""
    path = Path(name_or_path)
    if path.suffix != ".json":
        if str(name_or_path) not in sweep_names():
            raise DataError(f"no sweep '{name_or_path}'; there are {', '.join(sweep_names()) or 'none'}; "
                            "or give a JSON file, NAME.json")
        path = _SHIPPED / f"{name_or_path}.json"
    try:
        d = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no sweep '{path}'; give a JSON file, or a name without .json: "
                        f"{', '.join(sweep_names()) or 'none ships'}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no sweep ({error}); it must be JSON") from None
    return make_plan(d, path.stem, path.parent)


def make_plan(d: Any, name: str = "", folder: str | Path = ".") -> Plan:
    """The plan of a JSON description; DataError with one line that names what is wrong.

    ``name``: for a description without a name.  ``folder``: where the file of a recipe is looked for.
    """
    if not isinstance(d, dict):
        raise DataError(f"sweep '{name}': it must be a JSON object")
    d = {"name": name} | d
    given = d.get("recipe")
    if isinstance(given, str):
        recipe = Recipe.read(Path(folder) / given if given.endswith(".json") else zoo.recipe_path(given))
        d["recipe"] = recipe.to_dict()
    elif isinstance(given, dict):
        try:
            d["recipe"] = Recipe.from_dict({"name": d["name"]} | given).to_dict()
        except TidegateError as error:
            raise DataError(f"sweep '{d['name']}': 'recipe': {error}") from None
    return from_json(Plan, d)


def thresholds_at(setting: Setting, own: Iterable[int]) -> tuple[int, ...]:
    """Θ per signal (LSBs) at a setting of ``theta``; ``own``: the model's, for a factor to turn (``whole_theta``)."""
    return setting if isinstance(setting, tuple) else tuple(whole_theta(setting * t) for t in own)


def compact(value: Any) -> str:
    """A value as text on one line: a list of numbers such as "64 32", printable text unchanged, all else as JSON."""
    if isinstance(value, list | tuple) and value and all(type(x) in (int, float) for x in value):
        return " ".join(map(compact, value))
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
