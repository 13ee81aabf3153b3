"""The models that come with tidegate: ``NAME.tidegate``, its recipe ``NAME.json`` and its card ``NAME.md``.

A recipe may stand alone: ``words.json`` is for words of one's own.

No torch: a host beside a board loads models from here.
"""

from pathlib import Path

from tidegate.spec.errors import ModelError
from tidegate.spec.model import SUFFIX, Model, read_model

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names of the models that are here."""
    return tuple(sorted(p.name.removesuffix(SUFFIX) for p in _FOLDER.glob(f"*{SUFFIX}")))


def path(name: str) -> Path:
    """File of a zoo model; ModelError if there is none of that name."""
    if name not in names():
        raise ModelError(f"no model '{name}' in the zoo; there are {', '.join(names()) or 'none'}")
    return _FOLDER / (name + SUFFIX)


def recipes() -> tuple[str, ...]:
    """Names of the recipes that are here, those of the models among them."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.json")))


def recipe_path(name: str) -> Path:
    """JSON file of a recipe (``tidegate.train.recipe.Recipe.read``); ModelError if there is none of that name."""
    if name not in recipes():
        raise ModelError(f"no recipe '{name}' in the zoo; there are {', '.join(recipes())}, or give a JSON file")
    return _FOLDER / f"{name}.json"


def load(name_or_path: str | Path) -> Model:
    """A zoo model by its name, or any model file by its path; ModelError if it is neither."""
    text = str(name_or_path)
    if text in names():
        return read_model(path(text))
    if Path(text).suffix == SUFFIX or Path(text).is_file():
        return read_model(text)
    raise ModelError(f"no model '{text}': neither a file nor in the zoo ({', '.join(names()) or 'empty'}); "
                     "give one of these or the path of a model file")
