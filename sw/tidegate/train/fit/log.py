"""What a training run writes down: one row an epoch, in a CSV file beside the model; `tidegate report` draws it."""

import csv
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tidegate.spec.files import replacing
from tidegate.spec.model import SUFFIX

from ..errors import DataError


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean loss; accuracy (or the primary figure of another task) and cost on the
    validation part; Θ in force, and prices.

    ``words_per_frame``: weight words, on the lanes of the recipe's budget (1: weights).  ``price``: of a budget.
    ``frames_used``: mean share of a clip up to its decision, where the epoch decided early (None: at the end).
    ``misses``: share of the keywords missed in streams, where the recipe listens: mean over rates of false accepts.
    """

    number: int
    loss: float
    accuracy: float
    fetch_reduction: float | None
    words_per_frame: float
    occupancy: tuple[float, ...]
    thresholds: tuple[int, ...]
    price: float | None
    learning_rate: float
    seconds: float = field(compare=False)
    frames_used: float | None = None
    misses: float | None = None


def log_path(out: Path) -> Path:
    """The training log beside a model file: CSV, a row an epoch."""
    return out.with_name(out.name.removesuffix(SUFFIX) + ".log.csv")


def write_log(path: Path, epochs: list[Epoch], primary: str = "accuracy") -> None:
    """CSV with a row an epoch, the primary figure under its name; DataError if the place cannot be written."""
    rows = [{primary if k == "accuracy" else k: " ".join(map(str, v)) if isinstance(v, tuple) else v
             for k, v in asdict(e).items()} for e in epochs]
    try:
        with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise DataError(f"'{path}' cannot be written ({error.strerror}); choose another place") from None
