"""How streams for training are made and what their frames weigh, and the teacher: a recipe's fields ``listening`` and
``teacher``."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tidegate.spec.stop import SMOOTH_MAX

from ..validated import HUGE, Amount, Frames, Levels, Number, Ordered, Rate, Share, Spread, validated

Positive = Annotated[int, Field(ge=1, le=100_000)]


def _apart(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] == pair[1]:          # a length is drawn below the highest
        raise ValueError(f"is two different numbers, not {pair[0]} twice")
    return pair


def _any(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(shares):
        raise ValueError("are all 0; give at least one kind a share")
    return shares


Lengths = Annotated[tuple[Positive, Positive], Ordered, AfterValidator(_apart)]
Shares = Annotated[tuple[Amount, Amount, Amount, Amount, Amount], AfterValidator(_any)]


@validated("a recipe's teacher.")
class Teaching:
    """The float network that a recipe's network learns from (see ``fit/teacher.py``); a recipe's field ``teacher``.

    ``width``: channels of its blocks; ``maps``: of its first convolution.  ``epochs``, ``chunks`` of an epoch,
    ``learning_rate``: the peak, of its own training.  ``bfloat16``: compute it in that format, which is faster where
    the processor has it.  ``weight``: of its probabilities in the loss of the network; ``temperature`` of both
    softmaxes.
    """

    width: Annotated[int, Field(ge=1, le=10_000)] = 128
    maps: Annotated[int, Field(ge=1, le=1000)] = 16
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 16
    chunks: Annotated[int, Field(ge=1, le=HUGE)] = 300
    learning_rate: Rate = 4e-3
    bfloat16: bool = False
    weight: Amount = 1.0
    temperature: Annotated[Number, Field(ge=0.01, le=100)] = 2.0


@validated("a recipe's listening.")
class Listening:
    """How streams are made; a recipe's field.  Times in frames, levels in dB.

    ``streams``: how many run side by side; ``chunk``: frames between two updates of the weights, which is how far the
    gradient reaches back; ``chunks``: of an epoch.
    ``shares``: of keywords, other words, continuous speech, sounds and pauses among the items of a stream.
    ``gap``: (least, most) frames between two items, drawn by the square of a uniform number, so that short gaps are
    frequent; ``after``: least gap after a keyword.  ``speech``, ``sound``, ``pause``: lengths.
    ``answer``: frames after a word's end in which the network has to answer the word, at least to the end of its
    recording.  ``settle``: so many of them pass before it has to: until it is quiet nobody knows whether "four" will be
    "forty".  In a share ``prompt`` of the words it has to at once.  ``hold``: frames after that in which it may still
    answer the word.
    ``clip_epochs``: epochs on single clips before those on streams, as words come more often there.
    ``snr``: of a typical word over the background; ``clean``: share of stretches without background.
    ``gain``: ± of a stretch; ``word_gain``: ± of an item.  ``wet``: share of the items that are heard in a room.
    ``speech_warp``: ± bands by which the spectrum of continuous speech is shifted, as the recipe's augmentation does
    with words; without it, a network learns the voices of few speakers, and takes any other voice for keywords.
    ``colour``: spread in dB of a smooth curve over the bands, by which each word and passage is filtered, as another
    microphone would.
    ``mined``: share of the negative items that the network took for a keyword before.
    ``reject_weight``, ``hard_weight``, ``unknown_weight``, ``silence_weight``: of the losses, see ``fit/listening.py``.
    ``smoothed``: the loss is that of logits smoothed over about 2**smoothed frames, as a detector smooths them.
    ``peak``: share of an answer's loss that counts only the frame in which it is given most clearly.
    ``robust``: q of the generalised cross-entropy of keywords, 0 to 1.  The larger it is, the less a recording counts
    that sounds nothing like its keyword; 0 is the plain cross-entropy.
    ``hard_share``: share of a chunk's worst frames that ``hard_weight`` weighs.
    ``reset``: share of the streams that begin anew with a chunk.
    ``rejected``: share of the other words of the validation part, on clips, that are to be taken for no keyword: sets
    the bias of ``unknown`` in the end.  ``false_accepts``: per hour of streams of the validation part, at most: sets
    the threshold of the model's detector.
    """

    streams: Positive = 48
    chunk: Positive = 160
    chunks: Positive = 320
    clip_epochs: Frames = 0
    shares: Shares = (0.48, 0.22, 0.20, 0.05, 0.05)
    gap: Lengths = (4, 90)
    after: Frames = 16
    speech: Lengths = (60, 200)
    sound: Lengths = (40, 150)
    pause: Lengths = (30, 150)
    answer: Positive = 20
    settle: Frames = 6
    prompt: Share = 0.3
    hold: Positive = 40
    snr: Levels = (5.0, 40.0)
    clean: Share = 0.2
    gain: Spread = 10.0
    word_gain: Spread = 5.0
    wet: Share = 0.2
    speech_warp: Spread = 0.0
    colour: Spread = 0.0
    mined: Share = 0.3
    splice: Share = 0.12
    reject_weight: Amount = 1.0
    hard_weight: Amount = 0.1
    hard_share: Share = 0.01
    unknown_weight: Amount = 0.5
    silence_weight: Amount = 0.2
    smoothed: Annotated[int, Field(ge=0, le=SMOOTH_MAX)] = 0
    peak: Share = 0.0
    robust: Share = 0.0
    reset: Share = 0.04
    rejected: Share = 0.93
    false_accepts: Amount = 0.5
