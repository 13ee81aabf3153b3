"""How strings of tokens are made of recorded words: a recipe's field ``strings``."""

from typing import Annotated

from pydantic import Field

from tidegate.spec.tokens import MOST_BEAM

from ..validated import Amount, Levels, Nonnegative, Ordered, Share, Spread, refuse, validated

_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Seconds = Annotated[Nonnegative, Field(le=60)]
_Span = Annotated[tuple[_Seconds, _Seconds], Ordered]
_Lengths = Annotated[tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]], Ordered]


@validated("a recipe's strings.")
class StringOptions:
    """What strings are made of; pairs are the least and the greatest of a uniform choice.

    ``count``: strings per epoch.  ``judged``: strings of the validation part, and as many of the test part; the same
    whatever the recipe's seed.  ``tokens``: how many are in a string.  ``trained``: how many are in one to train,
    for short ones train faster (None: as many).

    Between two tokens, one of three: with the share ``overlap`` the second begins up to ``overlap_s`` seconds before
    the first has ended; with the share ``pause`` there are ``pause_s`` seconds between them; else ``gap_s``.
    ``edge_s``: before the first token and after the last.

    ``level``: ± dB of a whole string, ``word_level``: ± dB of each word, around one loudness for all.  ``snr``: dB by
    which the loud parts of the words are above the noise.  ``trim``: a recording is cut where it is this many dB below
    its loudest frame, ``margin_s`` seconds before and after.

    ``one_voice``: share of the training strings that one speaker says; in the others each word may be by another one.
    Strings that are judged are by one speaker each.  ``train_only``: names of the corpora that only train, such as
    synthetic voices.

    ``marks``: weight of a second loss, the cross-entropy in frames of which the label is known, because the string is
    composed: the token where its word ends, the blank where there is no word.  It goes from the first number to the
    second one over the share ``marked`` of the epochs.  With CTC alone (0, 0) a network tells nothing but blanks for
    many epochs.

    ``beam``: of the decoder (``spec/tokens.py``).
    """

    count: _Count = 2000
    judged: _Count = 300
    tokens: _Lengths = (1, 10)
    trained: _Lengths | None = None
    gap_s: _Span = (0.0, 0.25)
    overlap: Share = 0.2
    overlap_s: _Seconds = 0.06
    pause: Share = 0.1
    pause_s: _Span = (0.25, 1.0)
    edge_s: _Span = (0.1, 0.6)
    level: Spread = 10.0
    word_level: Spread = 3.0
    snr: Levels = (10.0, 40.0)
    trim: Spread = 25.0
    margin_s: _Seconds = 0.03
    one_voice: Share = 0.25
    train_only: tuple[str, ...] = ()
    marks: tuple[Amount, Amount] = (1.0, 0.2)
    marked: Share = 0.4
    beam: Annotated[int, Field(ge=1, le=MOST_BEAM)] = 1

    def __post_init__(self):
        refuse(self.overlap + self.pause > 1, "overlap and pause are shares of the same gaps, together 1 at most")
