"""The readout of token strings: a label per frame, one of them the blank (CTC, Graves et al. 2006).

A board computes the logits of every frame, as integers, like those of any other model.  Only the host makes a string of
them, by the rule of ``tidegate.host.ctc``: a token is a label other than the blank, and the same label in frames that
follow each other is one token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from .errors import ModelError
from .layer import whole

MOST_BEAM = 1000


@dataclass(frozen=True)
class Tokens:
    """``blank``: number of the label that stands for no token.  ``beam``: hypotheses that the host keeps; 1: it takes
    the largest logit of each frame.  ModelError if these are no whole numbers in range."""

    blank: int
    beam: int = 1

    def __post_init__(self):
        object.__setattr__(self, "blank", whole(self.blank, "the blank of strings"))
        object.__setattr__(self, "beam", whole(self.beam, "the beam of strings"))
        if self.blank < 0 or not 1 <= self.beam <= MOST_BEAM:
            raise ModelError(f"strings have a blank from 0 on and a beam of 1 to {MOST_BEAM}, not {self.blank} and "
                             f"{self.beam}")

    def text(self, labels: Sequence[str], tokens: Iterable[int]) -> str:
        """A string for a reader: "2075" where every token's label is one character, else with spaces, "two zero"."""
        own = [label for number, label in enumerate(labels) if number != self.blank]
        return ("" if all(len(label) == 1 for label in own) else " ").join(labels[token] for token in tokens)

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(d: dict) -> "Tokens":
        """The inverse of ``to_dict``; ModelError on what makes no readout of strings."""
        return Tokens(d["blank"], d["beam"])
