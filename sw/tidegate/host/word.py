"""Where the word is in a recording of one word, and which frame says what it is.

A network that was trained on clips of a second answers in their last frame.  A long pause after the word changes that
answer: with a second of silence behind the word, most networks no longer say the word.  So the label is taken from the
last frame only if the word ends no more than PAUSE_S before it, as in the clips of training, and else from the frame
WAIT_S after the word.

    level[t]   mean of frame t's features: the logarithm of the energy, over all bands
    tail       median of the level in the last TAIL_S: the background, if the word is over
    sound      level at least halfway between tail and the loudest frame
"""

from dataclasses import dataclass

import numpy as np

from .frontend import FrontEndSettings

TAIL_S, PAUSE_S, WAIT_S = 0.2, 0.5, 0.2
WORD_S, LONGEST_S = 3.0, 10.0       # longer sound is rarely one word; no clip that is longer trains a model


@dataclass(frozen=True)
class WordSpan:
    """The sound from frame ``first`` to frame ``last``, and the frame ``decision``, whose label is the recording's.

    ``seconds``: how long the sound is.
    """

    first: int
    last: int
    decision: int
    seconds: float


def find_word(features: np.ndarray, settings: FrontEndSettings) -> WordSpan:
    """In features (frames, bands) of a recording, at least one frame.

    Where nothing is louder than the end of the recording, all of it is the word, and its last frame decides.
    """
    def frames(seconds: float) -> int:
        return max(1, round(seconds * settings.sample_rate / settings.hop))

    level = features.mean(1, dtype=np.float64)
    tail = np.median(level[-frames(TAIL_S) :])
    loud = np.flatnonzero(level >= tail + 0.5 * (level.max() - tail))
    first, last, end = int(loud[0]), int(loud[-1]), len(level) - 1
    decision = last + frames(WAIT_S) if end - last > frames(PAUSE_S) else end
    return WordSpan(first, last, decision, settings.heard(last - first + 1))
