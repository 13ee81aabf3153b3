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

    def phrase(self, figures: dict, digits: int = 2) -> str:
        """The figure and how many examples it was measured on."""
        return f"{self.name} {self.text(figures[self.name], digits)} on {figures.get('utterances', '?')} {self.on}"

    def score(self, figures: dict) -> float:
        """The figure with the sign that makes more better."""
        return -figures[self.name] if self.lower else figures[self.name]


ACCURACY = Primary("accuracy")
