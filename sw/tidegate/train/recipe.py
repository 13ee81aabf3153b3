"""What a training run is made of: one frozen, validated description, kept as JSON and in the model's card."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.cells import CELLS, GRU
from tidegate.spec.errors import TidegateError
from tidegate.spec.formats import THETA_MAX
from tidegate.spec.network import Layer
from tidegate.spec.stop import Stop

from .data.stream_options import Listening, Teaching
from .errors import DataError
from .ranges import HUGE, SHARE, TINY, check_order, check_ranges

WORDS = "words"
_BOUNDS = (("learning_rate", TINY, 10), ("weight_decay", 0, HUGE), ("clip", TINY, HUGE), ("label_smoothing", *SHARE),
           ("hidden_noise", 0, HUGE), ("sparsity_cost", 0, HUGE), ("threshold_rate", 0, HUGE), ("balance", 0, HUGE),
           ("anneal", *SHARE), ("reject", *SHARE), ("patience", 0, HUGE), ("test_share", *SHARE),
           ("seed", 0, 2**31 - 1))
_VARIED = (("gain", 0, 200), ("noise", -200, 200), ("noise_share", *SHARE), ("lead", 0, 10000), ("tail", 0, 10000),
           ("crop", 0, 10000), ("hold", *SHARE), ("stretch", 0, 0.9), ("warp", 0, 1000), ("mask_bands", 0, 1000),
           ("mask_frames", 0, 10000), ("jitter", 0, HUGE), ("context", *SHARE), ("backwards", *SHARE),
           ("splice", *SHARE), ("silence_repeats", 1, 10000), ("snr", -200, 200))
TASKS = ("cue", "evidence", "mnist")        # see ``tasks.py``


@dataclass(frozen=True)
class Augmentation:
    """How training clips vary.  Levels in dB, times in frames, frequencies in bands; 0 switches a part off.

    ``gain``: ± level of the clip.  ``noise``, (lowest, highest) level of what is mixed in, relative to the noise
    recordings (or, without such, to a clip's mean), in ``noise_share`` of the clips.  ``snr``, (lowest, highest):
    instead, so far is the noise below the clip's active frames, whatever both levels are.
    ``lead``, ``tail``: up to so much silence before and after.  ``crop``: up to so many frames cut off at the
    beginning.  ``hold``: share of clips that continue with their first and last frame there instead of silence.
    ``stretch``: ± share of speed.
    ``warp``: ± bands by which the spectrum moves.  ``mask_bands``, ``mask_frames``: up to so many bands or frames
    silenced (SpecAugment, Park et al. 2019).  ``jitter``: standard deviation of Gaussian noise on the features.
    ``context``: share of batches in which another word precedes, as in a stream.  ``backwards``: share of the spoken
    clips that are played backwards and are then ``unknown``: words that sound like speech but never occur.
    ``splice``: share of clips that become the beginning of one word and the end of another, ``unknown`` as well.
    ``silence_repeats``: how often each cut of silence comes in an epoch.
    """

    gain: float = 8.0
    noise: tuple[float, float] = (-40.0, 0.0)
    noise_share: float = 0.6
    lead: int = 4
    tail: int = 6
    crop: int = 0
    hold: float = 0.0
    stretch: float = 0.12
    warp: float = 0.7
    mask_bands: int = 3
    mask_frames: int = 3
    jitter: float = 0.05
    context: float = 0.0
    backwards: float = 0.0
    splice: float = 0.0
    silence_repeats: int = 1
    snr: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        what = "a recipe's augmentation."
        check_ranges(what, self, _VARIED)
        check_order(what, self, ("noise", "snr"))


@dataclass(frozen=True)
class Recipe:
    """A training run.  ``about``, ``attribution`` (of the data) and ``limits`` are for the model card.

    ``task``: "words", a folder of recordings, or one of ``tasks.TASKS``, which have no front end and no augmentation.

    ``keywords``: the classes (none: every word is one), all others are ``unknown``; words to ``leave_out`` are in no
    part but "unseen", which tells how well words are rejected that were never heard.
    ``test_share``: of the validation part's speakers, for the test part, where the data has none: what is reported is
    then not what chose.  ``unknown``, ``silence``:
    whether these classes exist, "folder", "auto" or "none", see ``data.scan``.

    Shape.  ``cell``: of all layers, one of ``spec/cells.py``.  ``gru``: neurons of each layer, whatever the cell.

    Sparsity.  ``thresholds``: Θ per signal in LSBs of 1/256; they grow linearly from 0 over the first ``anneal`` share
    of the epochs.  ``delta``: whether training itself runs as a delta network; if not, it is dense and Θ is applied to
    what comes out (post hoc).  ``learn_thresholds``: Θ is trained, log Θ at ``threshold_rate`` times the learning rate.
    ``sparsity_cost``: weight of mean |Δĥ| (over batch, frames and units; h in ±1), annealed likewise.
    ``budget``: train to so many weight words a frame, counted on a board of ``budget_lanes`` lanes (1: weights).
    ``agility``: (lowest, highest) factor on all Θ, drawn anew for every batch, so that Θ may be turned at run time.

    Numbers.  ``rounding``: straight-through rounding of weights and signals, so that the trained network is the golden
    model; without it PyTorch's module of the cell is trained and rounded in the end (only with ``delta`` off).
    ``weight_fracs``, ``weight_bits``: scale and width per layer, classifier last; the width is 8 bits until the
    annealing is over.  ``hidden_noise``: standard deviation of Gaussian noise on h (for features: ``jitter``).

    Learning.  ``decision_frames``: the cross-entropy is the mean over so many last frames of a clip; the decision
    itself is the last frame.  ``learning_rate`` is the peak of a one-cycle schedule for AdamW; ``clip``: limit of the
    gradient's norm; ``patience``: stop after so many epochs without a better one (0: never).  ``balance``: 0 weighs
    every clip alike, 1 every class.  ``reject``: share of the keywords' recall (validation) that may be given up for
    rejecting more, by a bias of ``unknown``.

    Deciding early (rank coding, Jeffares et al. 2021, arXiv:2110.02865).  ``stop_margin``: the lead of the best logit
    over the second, in units of the logits, at which the network has decided (``spec/stop.py``; 0: no such rule), not
    in the first ``stop_hold`` frames of a word.  After the annealing and ``stop_from``, a share of the epochs, the
    cross-entropy is that of the frame of the decision, or the last without one, and nothing after it is computed.
    ``entropy_reward``: times the entropy of the softmax there, taken off the loss: the more, the flatter the softmax
    and the later the network decides.

    ``listening``: train on endless streams with the hidden state carried, instead of clip by clip (``streams.py``,
    ``listening.py``); after its epochs on clips an epoch is so many chunks, in which ``batch``, ``balance``,
    ``decision_frames``, ``label_smoothing``, ``hidden_noise`` and ``sparsity_cost`` have no effect, and the budget is
    that of the training's own streams.  ``teacher``: a float network that is trained first, on the same streams, and
    from which the network then learns in its epochs on streams (``teacher.py``).
    """

    name: str
    about: str = ""
    attribution: str = ""
    limits: tuple[str, ...] = ()
    frontend: FrontEndSettings = field(default_factory=FrontEndSettings)
    task: str = WORDS
    keywords: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    test_share: float = 0.0
    cell: str = GRU.name
    gru: tuple[int, ...] = (64,)
    thresholds: tuple[int, ...] = (128, 64)
    anneal: float = 0.3
    delta: bool = True
    learn_thresholds: bool = False
    threshold_rate: float = 1.0
    sparsity_cost: float = 0.0
    budget: float | None = None
    budget_lanes: int = 1
    agility: tuple[float, float] | None = None
    rounding: bool = True
    weight_fracs: tuple[int, ...] | None = None
    weight_bits: tuple[int, ...] | None = None
    hidden_noise: float = 0.0
    epochs: int = 40
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    balance: float = 0.0
    clip: float = 2.0
    decision_frames: int = 4
    patience: int = 0
    reject: float = 0.0
    stop_margin: float = 0.0
    stop_hold: int = 0
    stop_from: float = 0.0
    entropy_reward: float = 0.0
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)
    listening: Listening | None = None
    teacher: Teaching | None = None
    unknown: str = "folder"
    silence: str = "folder"

    def __post_init__(self):
        if self.task not in (WORDS, *TASKS):
            raise DataError(f"recipe '{self.name}': no task '{self.task}'; choose {', '.join((WORDS, *TASKS))}")
        if self.cell not in CELLS:
            raise DataError(f"recipe '{self.name}': there is no cell '{self.cell}'; choose {' or '.join(CELLS)}")
        if len(self.thresholds) != len(self.gru) + 1:
            raise DataError(f"recipe '{self.name}': {len(self.gru)} layers need {len(self.gru) + 1} thresholds")
        if any(not 0 <= theta <= THETA_MAX for theta in self.thresholds):
            raise DataError(f"recipe '{self.name}': thresholds must be in 0..{THETA_MAX} LSBs of 1/256")
        if min(self.epochs, self.batch, self.decision_frames, *self.gru) < 1:
            raise DataError(f"recipe '{self.name}': epochs, batch, decision_frames and sizes must be at least 1")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(f"recipe '{self.name}': {f.name} is a number, not {value}")
        check_ranges(f"recipe '{self.name}': ", self, _BOUNDS)
        for name in ("weight_fracs", "weight_bits"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.gru) + 1:
                raise DataError(f"recipe '{self.name}': {len(self.gru)} layers and a classifier need "
                                f"{len(self.gru) + 1} {name}")
        if self.task != WORDS and (self.reject or self.keywords or self.leave_out):
            raise DataError(f"recipe '{self.name}': keywords, leave_out and reject are for the task '{WORDS}'")
        if not self.rounding and (self.delta or self.weight_fracs or self.weight_bits or self.hidden_noise):
            raise DataError(f"recipe '{self.name}': without rounding a float network is trained; set delta to false "
                            "and leave weight_fracs, weight_bits and hidden_noise out")
        if not self.rounding and ((self.sparsity_cost and len(self.gru) > 1) or len(set(self.gru)) > 1):
            raise DataError(f"recipe '{self.name}': without rounding all layers are of one size, and a sparsity_cost "
                            "is for one layer")
        if self.weight_bits is not None and self.weight_fracs is None:
            raise DataError(f"recipe '{self.name}': weight_bits need weight_fracs; 4 for int4 weights up to ±0.44")
        if not self.delta and (self.learn_thresholds or self.budget or self.agility):
            raise DataError(f"recipe '{self.name}': learned thresholds, a budget and agility need delta")
        if self.agility and (self.budget or not 0 < self.agility[0] <= self.agility[1]):
            raise DataError(f"recipe '{self.name}': agility is a lowest and a highest factor above 0, without a budget")
        if self.budget is not None and self.budget <= 0:
            raise DataError(f"recipe '{self.name}': budget must be more than 0 weight words a frame")
        if self.learn_thresholds and min(self.thresholds) < 1:
            raise DataError(f"recipe '{self.name}': learned thresholds must start at 1 or more")

        if self.teacher and not self.listening:
            raise DataError(f"recipe '{self.name}': a teacher teaches on streams; give 'listening', too")
        if self.listening and self.epochs <= self.listening.clip_epochs:
            raise DataError(f"recipe '{self.name}': the first {self.listening.clip_epochs} epochs are on clips "
                            f"(listening.clip_epochs), so {self.epochs} epochs never hear a stream; give more")
        if self.stop_margin:
            if not self.rounding or self.reject:
                raise DataError(f"recipe '{self.name}': a stop_margin needs rounding, and no reject")
            try:
                self.stop(("",))
            except TidegateError as error:
                raise DataError(f"recipe '{self.name}': stop_margin {self.stop_margin:g}: {error}") from None
            if self.entropy_reward < 0:
                raise DataError(f"recipe '{self.name}': entropy_reward must be 0 or more, not {self.entropy_reward:g}")
            if not 0 <= self.stop_from < 1:
                raise DataError(f"recipe '{self.name}': stop_from is a share of the epochs, not {self.stop_from:g}")
        elif self.entropy_reward or self.stop_hold or self.stop_from:
            raise DataError(f"recipe '{self.name}': stop_hold, stop_from and entropy_reward are of use with a "
                            "stop_margin; give one, such as 2")

    @property
    def classifier_frac(self) -> int:
        return self.weight_fracs[-1] if self.weight_fracs else Layer(1).weight_frac

    def stop(self, labels: Sequence[str]) -> Stop | None:
        """The rule for these labels as a board compares it, or None."""
        return Stop.of(self.stop_margin, self.classifier_frac, labels, self.stop_hold) if self.stop_margin else None

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(d: dict) -> "Recipe":
        """The inverse of ``to_dict``; fields left out keep their defaults, unknown ones are a DataError."""
        d = dict(d)
        frontend = FrontEndSettings.from_dict(d.pop("frontend", {}))
        augmentation = _build(Augmentation, d.pop("augmentation", {}))
        listening = None if d.get("listening") is None else _build(Listening, d["listening"])
        if "name" not in d and set(d) <= {f.name for f in fields(Recipe)}:
            raise DataError("a recipe needs a 'name'; give it one")
        teacher = None if d.get("teacher") is None else _build(Teaching, d["teacher"])
        return _build(Recipe, d | {"frontend": frontend, "augmentation": augmentation, "listening": listening,
                                   "teacher": teacher})

    @staticmethod
    def read(path: str | Path) -> "Recipe":
        """From a JSON file; DataError if it is missing or not a recipe."""
        try:
            d = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"no recipe '{path}'; give a JSON file or one of the zoo's names") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"'{path}' is not a recipe ({error}); it must be JSON") from None
        if not isinstance(d, dict):
            raise DataError(f"'{path}' is not a recipe; it must be a JSON object")
        return Recipe.from_dict(d)

    def write(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _build(kind, values: dict):
    if not isinstance(values, dict):
        raise DataError(f"a recipe's '{kind.__name__.lower()}' must be an object, not {values!r}")
    known, hints = {f.name for f in fields(kind)}, get_type_hints(kind)
    for name in values:
        if name not in known:
            raise DataError(f"a recipe has no field '{name}'; known are {', '.join(sorted(known))}")
        if not is_dataclass(values[name]) and not fits(values[name], hints[name]):
            raise DataError(f"a recipe's '{name}' cannot be {json.dumps(values[name], ensure_ascii=False)}; "
                            "see tidegate.train.recipe")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value can be a field with this annotation."""
    args = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, h) for h in args)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            return False
        wanted = [args[0]] * len(value) if args[-1] is ... else args
        return len(value) == len(wanted) and all(map(fits, value, wanted))
    if is_dataclass(hint):
        return isinstance(value, dict)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return value is None if hint is NoneType else not isinstance(hint, type) or isinstance(value, hint)
