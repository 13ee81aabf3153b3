"""How streams for training are made and what their frames weigh, and the teacher: a recipe's fields ``listening`` and
``teacher``."""

from dataclasses import dataclass

from tidegate.spec.stop import SMOOTH_MAX

from ..errors import DataError
from ..ranges import HUGE, SHARE, TINY, check_order, check_ranges

_TAUGHT = (("width", 1, 10_000), ("maps", 1, 1000), ("epochs", 1, 10_000), ("chunks", 1, HUGE),
           ("learning_rate", TINY, 10), ("weight", 0, HUGE), ("temperature", 0.01, 100))
_FRAMES, _DECIBEL = 100_000, 200
_BOUNDS = (
    *((name, 1, _FRAMES) for name in ("streams", "chunk", "chunks", "answer", "hold", "gap", "speech", "sound",
                                      "pause")),
    *((name, 0, _FRAMES) for name in ("clip_epochs", "after", "settle")),
    *((name, 0, _DECIBEL) for name in ("gain", "word_gain", "speech_warp", "colour")), ("snr", -_DECIBEL, _DECIBEL),
    *((name, 0, HUGE) for name in ("shares", "reject_weight", "hard_weight", "unknown_weight", "silence_weight",
                                   "false_accepts")),
    *((name, *SHARE) for name in ("prompt", "clean", "wet", "mined", "splice", "peak", "robust", "hard_share", "reset",
                                  "rejected")),
    ("smoothed", 0, SMOOTH_MAX))


@dataclass(frozen=True)
class Teaching:
    """The float network that a recipe's network learns from (see ``teacher.py``); a recipe's field ``teacher``.

    ``width``: channels of its blocks; ``maps``: of its first convolution.  ``epochs``, ``chunks`` of an epoch,
    ``learning_rate``: the peak, of its own training.  ``bfloat16``: compute it in that format, which is faster where
    the processor has it.  ``weight``: of what it says in the loss of the network; ``temperature`` of both softmaxes.
    """

    width: int = 128
    maps: int = 16
    epochs: int = 16
    chunks: int = 300
    learning_rate: float = 4e-3
    bfloat16: bool = False
    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_ranges("a recipe's teacher.", self, _TAUGHT)


@dataclass(frozen=True)
class Listening:
    """How streams are made; a recipe's field.  Times in frames, levels in dB.

    ``streams``: how many run side by side; ``chunk``: frames between two updates of the weights, which is how far the
    gradient reaches back; ``chunks``: of an epoch.
    ``shares``: of keywords, other words, continuous speech, sounds and pauses among the items of a stream.
    ``gap``: between two items, (least, most), of which the square of a uniform number is taken, so that short ones are
    frequent; ``after``: least gap after a keyword.  ``speech``, ``sound``, ``pause``: lengths.
    ``answer``: frames after a word's end in which its class is to be answered, at least to the end of its recording;
    ``settle``: how many of them pass before it must be, in all but ``prompt``, a share, of the words: until it is quiet
    nobody knows whether "four" will be "forty".  ``hold``: frames after that in which it may still be answered.
    ``clip_epochs``: epochs on single clips before those on streams, as words come more often there.
    ``snr``: of a typical word over the background; ``clean``: share of stretches without background.
    ``gain``: ± of a stretch; ``word_gain``: ± of an item.  ``wet``: share of the items that are heard in a room.
    ``speech_warp``: ± bands by which the spectrum of continuous speech is shifted, as the recipe's augmentation does
    with words: of a few speakers a network learns the voices, and takes any other voice for one that says keywords.
    ``colour``: spread in dB of a smooth curve over the bands that each word and passage is filtered by, as by another
    microphone.
    ``mined``: share of the negative items that the network took for a keyword before.
    ``reject_weight``, ``hard_weight``, ``unknown_weight``, ``silence_weight``: of the losses, see ``listening.py``.
    ``smoothed``: the loss is that of logits smoothed over about 2**smoothed frames, as a detector smooths them.
    ``peak``: share of an answer's loss that counts only the frame in which it is given most clearly.
    ``robust``: of the generalised cross-entropy of keywords, 0 to 1: how little a recording counts that sounds nothing
    like its keyword; 0 is the plain cross-entropy.
    ``hard_share``: share of a chunk's worst frames that ``hard_weight`` weighs.
    ``reset``: share of the streams that begin anew with a chunk.
    ``rejected``: share of the other words of the validation part, on clips, that are to be taken for no keyword: sets
    the bias of ``unknown`` in the end.  ``false_accepts``: per hour of streams of the validation part, at most: sets
    the threshold of the model's detector.
    """

    streams: int = 48
    chunk: int = 160
    chunks: int = 320
    clip_epochs: int = 0
    shares: tuple[float, float, float, float, float] = (0.48, 0.22, 0.20, 0.05, 0.05)
    gap: tuple[int, int] = (4, 90)
    after: int = 16
    speech: tuple[int, int] = (60, 200)
    sound: tuple[int, int] = (40, 150)
    pause: tuple[int, int] = (30, 150)
    answer: int = 20
    settle: int = 6
    prompt: float = 0.3
    hold: int = 40
    snr: tuple[float, float] = (5.0, 40.0)
    clean: float = 0.2
    gain: float = 10.0
    word_gain: float = 5.0
    wet: float = 0.2
    speech_warp: float = 0.0
    colour: float = 0.0
    mined: float = 0.3
    splice: float = 0.12
    reject_weight: float = 1.0
    hard_weight: float = 0.1
    hard_share: float = 0.01
    unknown_weight: float = 0.5
    silence_weight: float = 0.2
    smoothed: int = 0
    peak: float = 0.0
    robust: float = 0.0
    reset: float = 0.04
    rejected: float = 0.93
    false_accepts: float = 0.5

    def __post_init__(self) -> None:
        what = "a recipe's listening."
        check_ranges(what, self, _BOUNDS)
        check_order(what, self, ("gap", "speech", "sound", "pause", "snr"))
        for name in ("gap", "speech", "sound", "pause"):        # a length is drawn below the highest
            low, high = getattr(self, name)
            if low == high:
                raise DataError(f"{what}{name} is two different numbers, not {low} twice")
        if not sum(self.shares):
            raise DataError(f"{what}shares are all 0; give at least one kind a share")
