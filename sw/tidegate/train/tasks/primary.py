"""The figure that chooses the best epoch.  This module needs no torch, so that light verbs can print the figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Primary:
    """The figure that chooses the best epoch and that the verbs print.

    ``name``: its key in the result of ``Task.metrics``.  ``share``: it is written in percent.  ``lower``: a lower value
    is better.  ``on``: what the task's examples are called.  Where a recipe has a budget, every percent above the
    budget counts as 0.01 of this figure.
    """

    name: str
    share: bool = True
    lower: bool = False
    on: str = "clips"

    def text(self, value: float, digits: int = 2) -> str:
        """The value for a reader; ``digits`` follow the point of a percentage."""
        return f"{value:.{digits}%}" if self.share else f"{value:.{digits + 2}g}"

    def told(self, value: float) -> str:
        """The value for a list in which it stands without its name: of accuracy the percentage alone."""
        return self.text(value) if self == ACCURACY else f"{self.name} {self.text(value)}"

    def spread(self, mean: float | None, deviation: float | None) -> str:
        """As "98.40 ± 0.31 %" or "1.23 ± 0.04"; one value of one run, "-" of none."""
        if mean is None:
            return "-"
        if deviation is None:
            return self.text(mean)
        return f"{100 * mean:.2f} ± {100 * deviation:.2f} %" if self.share else f"{mean:.4g} ± {deviation:.2g}"

    def phrase(self, figures: dict, digits: int = 2) -> str:
        """The figure and how many examples it was measured on."""
        return f"{self.name} {self.text(figures[self.name], digits)} on {figures.get('utterances', '?')} {self.on}"

    def score(self, figures: dict) -> float:
        """The figure with the sign that makes more better."""
        return -figures[self.name] if self.lower else figures[self.name]


ACCURACY = Primary("accuracy")
NRMSE = Primary("nrmse", lower=True, on="pieces")
WER = Primary("wer", lower=True, on="strings")


def primary_on(card: dict) -> Primary:
    """The figure that a model's card has of its parts, of the tasks of this package; accuracy if it has none of them.

    Where torch is at hand ``registry.find_task`` knows those of other packages, too.
    """
    return next((primary for primary in (NRMSE, WER)
                 if any(isinstance(part, dict) and primary.name in part for part in card.values())), ACCURACY)
