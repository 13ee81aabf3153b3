"""What a training run is made of: one frozen, validated description, kept as JSON and in the model's card."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from tidegate.host.frontend import FrontEndSettings
from tidegate.spec.cells import CELLS, GRU, UNIT, cell_of
from tidegate.spec.conv import Conv2d
from tidegate.spec.errors import TidegateError
from tidegate.spec.files import replacing
from tidegate.spec.formats import THETA_MAX
from tidegate.spec.layer import Layer
from tidegate.spec.network import Network
from tidegate.spec.rules import Diffuse
from tidegate.spec.stop import Stop

from .data.series_options import SeriesOptions
from .data.stream_options import Listening, Teaching
from .data.string_options import StringOptions
from .errors import DataError
from .validated import (
    Amount,
    AtLeastOne,
    Frames,
    Levels,
    Nonnegative,
    Number,
    Ordered,
    Rate,
    Share,
    Spread,
    from_json,
    refuse,
    validated,
)

WORDS = "words"
Threshold = Annotated[int, Field(ge=0, le=THETA_MAX)]
Choice = Literal["folder", "auto", "none"]
Factor = Annotated[Number, Field(gt=0)]


def _frontend(given: FrontEndSettings | dict) -> FrontEndSettings:
    return given if isinstance(given, FrontEndSettings) else FrontEndSettings.from_dict(given)


@validated("a recipe's augmentation.")
class Augmentation:
    """How training clips vary.  Levels in dB, times in frames, frequencies in bands; 0 switches a part off.

    ``gain``: ± level of the clip.  ``noise``: (lowest, highest) level of the noise that is mixed in, relative to the
    level of its recording (of made noise: to the clip's mean), in ``noise_share`` of the clips.  ``snr``: (lowest,
    highest) distance of the noise below the clip's active frames, in place of ``noise``.
    ``lead``, ``tail``: at most this much silence before and after.  ``crop``: at most this many frames are cut off at
    the beginning.  ``hold``: share of clips whose first and last frames are repeated there in place of silence.
    ``stretch``: ± share of speed.
    ``warp``: ± bands by which the spectrum moves.  ``mask_bands``, ``mask_frames``: at most this many bands or frames
    are silenced (SpecAugment, Park et al. 2019).  ``jitter``: standard deviation of Gaussian noise on the features.
    ``context``: share of batches in which another word precedes, as in a stream.  ``backwards``: share of the spoken
    clips that are played backwards and are then ``unknown``; they sound like speech but hold no word.
    ``splice``: share of clips that become the beginning of one word and the end of another, also ``unknown``.
    ``silence_repeats``: how often each cut of silence comes in an epoch.
    """

    gain: Spread = 8.0
    noise: Levels = (-40.0, 0.0)
    noise_share: Share = 0.6
    lead: Frames = 4
    tail: Frames = 6
    crop: Frames = 0
    hold: Share = 0.0
    stretch: Annotated[Nonnegative, Field(le=0.9)] = 0.12
    warp: Annotated[Nonnegative, Field(le=1000)] = 0.7
    mask_bands: Annotated[int, Field(ge=0, le=1000)] = 3
    mask_frames: Frames = 3
    jitter: Amount = 0.05
    context: Share = 0.0
    backwards: Share = 0.0
    splice: Share = 0.0
    silence_repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    snr: Levels | None = None


@validated("a recipe's rule.")
class Rule(Diffuse):
    """The rule ``diffuse`` of a signal; its Θ is among the recipe's thresholds."""

    step: int = 256

    def __post_init__(self):
        try:
            super().__post_init__()
        except TidegateError as error:
            raise ValueError(str(error)) from None

    @property
    def made(self) -> Diffuse:
        return Diffuse(**asdict(self))


@validated("a recipe's convolution.")
class Convolution(Conv2d):
    """A convolution of a layer; the layer's size counts all its positions and channels."""

    def __post_init__(self):
        try:
            super().__post_init__()
        except TidegateError as error:
            raise ValueError(str(error)) from None

    @property
    def made(self) -> Conv2d:
        return Conv2d(**asdict(self))


@validated("a recipe's layer.")
class LayerRecipe:
    """How a layer is made, or the classifier, of which only ``consumes`` and ``bias_columns`` count: the fields of
    ``spec.layer.Layer``."""

    cell: str = UNIT.name
    activation: str = ""
    recurrent: bool = True
    consumes: bool = False
    hears: tuple[int, ...] = ()
    bias_columns: int = 0
    conv: Convolution | None = None
    skip: Convolution | None = None


@validated("a recipe's memory.")
class Memory:
    """The first layer begins as Legendre memories (``spec/lmu.py``): ``channels`` of ``order`` neurons each, of the
    last ``theta`` frames.  ``gain``: on what they remember.  ``still``: Ā is not trained."""

    order: AtLeastOne
    theta: Factor
    channels: AtLeastOne = 1
    form: Literal["legendre", "normal"] = "normal"
    gain: Factor = 1.0
    still: bool = False


@validated("recipe {name!r}: ")
class Recipe:
    """A training run; DataError of one line if a field has a wrong type or value, or two fields contradict each other.

    Text.  ``name`` of the recipe and of the model.  ``about``, ``attribution`` (of the data) and ``limits`` are for the
    model card.

    Data.  ``task``: the name of a task (``tasks/registry.py``).  Only "words", a folder of recordings, has a front end
    (``frontend``) and augmentation.  ``keywords``: the words that are classes (none: every word is one); all others are
    ``unknown``.  ``leave_out``: words that are only in the part "unseen", which tells how well the model rejects words
    that it never heard.  ``test_share``: the share of the validation part's speakers that go to the test part, for
    data without one; the reported part then chose nothing.  ``unknown``, ``silence``: where recordings of these classes
    come from, "folder", "auto" or "none", see ``data.folders.scan``.

    Shape.  ``cell``: of all layers, one of ``spec/cells.py``.  ``gru``: neurons of each layer, whatever the cell.

    ``layers``: how each of these layers is made, in place of ``cell``; ``classifier``: how the classifier is.
    ``rules``: the rule of each signal (null: ``delta``), features first; a signal of the rule ``diffuse`` has its Θ
    from the beginning.  ``memory``: the first layer begins as a memory of the last frames.  ``readout_frames``: the
    answer is that of the logits' mean over this many last frames of a clip, 0 for all its frames.  ``steps``: frames
    per image (0: what the task has by itself).  ``shift``: pixels by which an image moves at most while it trains.

    Sparsity.  ``thresholds``: Θ per signal in LSBs of 1/256; they grow linearly from 0 over the first ``anneal`` share
    of the epochs.  ``delta``: whether the network is a delta network while it trains; if not, training is dense and Θ
    is applied to the trained network (post hoc).  ``learn_thresholds``: Θ is trained, log Θ at ``threshold_rate`` times
    the learning rate.  ``sparsity_cost``: weight of the mean |Δv̂| of the hidden states (over batch, frames and
    neurons; h in ±1), which grows with Θ.  ``budget``: the weight words per frame to train for, counted on a board of
    ``budget_lanes`` lanes (1: words are weights).  ``agility``: (lowest, highest) factor on all Θ, drawn anew for every
    batch, so that Θ may be changed at run time.

    Numbers.  ``rounding``: straight-through rounding of weights and signals, so that the trained network is the golden
    model; without it, PyTorch's module of the cell is trained and rounded at the end (only with ``delta`` off).
    ``weight_fracs``, ``weight_bits``: fraction bits and width per layer, classifier last; the width is 8 bits until the
    annealing is over.  ``hidden_noise``: standard deviation of Gaussian noise on h (for features: ``jitter``).

    Spikes.  ``gradient``: of the rule ``diffuse``, one of ``golden/signals.py``.  ``coarsen``: the steps of the rules
    ``diffuse`` double from 1/256 to the recipe's over this share of the epochs, and their Θ and levels with them, so
    that the network is smooth at first (hybrid spiking).  ``dropout``: share of the elements of each signal that are
    silent for a clip in training.  ``weight_spread``: weights of spiking layers begin uniform in ± Θ / this (0: as all
    others), the normalised threshold of Lee et al. 2016.  ``error_scale``: the gradient of a layer's spikes is
    multiplied by √(neurons / neurons that fired), as they do.  ``rate_cost``: weight of the squared rate by which a
    neuron fires more often than in the share ``rate`` of the frames, in place of their threshold regularisation.
    ``inhibition``: own weights of a recurrent last layer begin at minus this, but for the diagonal (their lateral
    inhibition).

    Learning.  ``decision_frames``: the loss is the mean cross-entropy over this many last frames of a clip; the answer
    is that of the last frame.  ``learning_rate``: the peak of a one-cycle schedule for AdamW.  ``clip``: limit of the
    gradient's norm.  ``patience``: stop after this many epochs without a better one (0: never).  ``balance``: 0 gives
    every clip the same weight, 1 every class.  ``reject``: share of the keywords' recall (validation) that may be lost
    to a bias of ``unknown``, with which the model rejects more other words.

    Deciding early (rank coding, Jeffares et al. 2021, arXiv:2110.02865).  ``stop_margin``: the lead of the best logit
    over the second, in units of the logits, at which the network has decided (``spec/stop.py``; 0: it never decides
    early).  In the first ``stop_hold`` frames of a clip it decides nothing.  After the annealing and the share
    ``stop_from`` of the epochs, the cross-entropy is that of the deciding frame, or of the last one if no frame
    decides, and later frames are not computed.  ``entropy_reward``: this multiple of the softmax's entropy in that
    frame is subtracted from the loss; more makes the softmax flatter and the decision later.

    Series.  ``series``: windows and parts of the task ``series`` (``data/series_options.py``).  Of ``augmentation``
    only ``jitter`` counts there.

    Strings.  ``strings``: how the task ``ctc`` makes its strings (``data/string_options.py``).  ``keywords`` are the
    tokens there.  Of ``augmentation`` count ``noise_share``, ``stretch``, ``warp``, the masks and ``jitter``.

    Streams.  ``listening``: after its epochs on clips, train on endless streams with the hidden state carried on
    (``data/streams.py``, ``fit/listening.py``).  An epoch is then a number of chunks; ``batch``, ``balance``,
    ``decision_frames``, ``label_smoothing``, ``hidden_noise`` and ``sparsity_cost`` have no effect, and the budget is
    that of the training streams.  ``teacher``: a float network that is trained first, on the same streams, and from
    which the network learns in its epochs on streams (``fit/teacher.py``).
    """

    name: str
    about: str = ""
    attribution: str = ""
    limits: tuple[str, ...] = ()
    frontend: Annotated[FrontEndSettings, PlainValidator(_frontend)] = FrontEndSettings()
    task: str = WORDS
    keywords: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    test_share: Share = 0.0
    cell: str = GRU.name
    gru: Annotated[tuple[AtLeastOne, ...], Field(min_length=1)] = (64,)
    layers: tuple[LayerRecipe, ...] = ()
    classifier: LayerRecipe = LayerRecipe()
    rules: tuple[Rule | None, ...] = ()
    memory: Memory | None = None
    readout_frames: Annotated[int, Field(ge=0, le=10_000)] = 1
    steps: Annotated[int, Field(ge=0, le=10_000)] = 0
    shift: Annotated[int, Field(ge=0, le=8)] = 0
    thresholds: tuple[Threshold, ...] = (128, 64)
    anneal: Share = 0.3
    delta: bool = True
    learn_thresholds: bool = False
    threshold_rate: Amount = 1.0
    sparsity_cost: Amount = 0.0
    budget: Factor | None = None
    budget_lanes: AtLeastOne = 1
    agility: Annotated[tuple[Factor, Factor], Ordered] | None = None
    rounding: bool = True
    weight_fracs: tuple[int, ...] | None = None
    weight_bits: tuple[int, ...] | None = None
    hidden_noise: Amount = 0.0
    gradient: Literal["hybrid", "membrane", "surrogate"] = "hybrid"
    coarsen: Share = 0.0
    dropout: tuple[Annotated[Nonnegative, Field(lt=1)], ...] = ()
    weight_spread: Amount = 0.0
    error_scale: bool = False
    rate_cost: Amount = 0.0
    rate: Share = 0.0
    inhibition: Amount = 0.0
    epochs: AtLeastOne = 40
    batch: AtLeastOne = 64
    learning_rate: Rate = 4e-3
    weight_decay: Amount = 0.01
    label_smoothing: Share = 0.0
    balance: Amount = 0.0
    clip: Annotated[Amount, Field(ge=1e-15)] = 2.0
    decision_frames: AtLeastOne = 4
    patience: Annotated[int, Field(ge=0, le=10**9)] = 0
    reject: Share = 0.0
    stop_margin: Number = 0.0
    stop_hold: int = 0
    stop_from: Annotated[Nonnegative, Field(lt=1)] = 0.0
    entropy_reward: Nonnegative = 0.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    augmentation: Augmentation = Augmentation()
    listening: Listening | None = None
    teacher: Teaching | None = None
    series: SeriesOptions | None = None
    strings: StringOptions | None = None
    unknown: Choice = "folder"
    silence: Choice = "folder"

    def __post_init__(self):
        layers = len(self.gru)
        refuse(self.cell not in CELLS, f"there is no cell '{self.cell}'; choose {' or '.join(CELLS)}")
        wrong = self._wrong_lengths()
        refuse(wrong, f"{layers} layers need {'; '.join(wrong)}")
        refuse(not self.rounding and (self.delta or self.weight_fracs or self.weight_bits or self.hidden_noise),
               "without rounding a float network is trained; set delta to false and leave weight_fracs, weight_bits "
               "and hidden_noise out")
        refuse(not self.rounding and ((self.sparsity_cost and layers > 1) or len(set(self.gru)) > 1),
               "without rounding all layers are of one size, and a sparsity_cost is for one layer")
        refuse(self.weight_bits is not None and self.weight_fracs is None,
               "weight_bits need weight_fracs; 4 for int4 weights up to ±0.44")
        refuse(not self.delta and (self.learn_thresholds or self.budget or self.agility),
               "learned thresholds, a budget and agility need delta")
        refuse(self.agility and self.budget, "agility is without a budget; leave one of them out")
        refuse(self.learn_thresholds and min(self.thresholds) < 1, "learned thresholds must start at 1 or more")
        refuse(self.teacher and not self.listening, "a teacher teaches on streams; give 'listening', too")
        clips = self.listening.clip_epochs if self.listening else 0
        refuse(self.epochs <= clips, f"the first {clips} epochs are on clips (listening.clip_epochs), so {self.epochs} "
                                     "epochs never hear a stream; give more")
        refuse(self.stop_margin and (not self.rounding or self.reject), "a stop_margin needs rounding, and no reject")
        refuse(not self.stop_margin and (self.entropy_reward or self.stop_hold or self.stop_from),
               "stop_hold, stop_from and entropy_reward are of use with a stop_margin; give one, such as 2")
        self._check_shape()
        try:
            self.stop(("",))
        except TidegateError as error:
            raise ValueError(f"stop_margin {self.stop_margin:g}: {error}") from None

    def _wrong_lengths(self) -> list[str]:
        """What each list of another length than the layers need should have."""
        n = len(self.gru)
        lists = ((self.thresholds, n + 1, "thresholds", "features first"),
                 (self.weight_fracs, n + 1, "weight_fracs", "classifier last"),
                 (self.weight_bits, n + 1, "weight_bits", "classifier last"),
                 (self.layers or None, n, "descriptions in 'layers'", "without the classifier"),
                 (self.rules or None, n + 1, "rules", "features first, null for delta"),
                 (self.dropout or None, n + 1, "shares of dropout", "features first"))
        return [f"{length} {what}, not {len(given)} ({order})" for given, length, what, order in lists
                if given is not None and len(given) != length]

    def _check_shape(self) -> None:
        refuse(any(self.rules) and (self.learn_thresholds or self.agility),
               "thresholds that are learned or change are for the rule delta; leave the rules out")
        try:
            heard = [(m.skip or m.conv).inputs for l, m in enumerate(self.layers)
                     if m.conv and 0 in (m.hears or (l,))]
            shape = self.network(heard[0] if heard else 1, 1)
        except TidegateError as error:
            raise ValueError(str(error)) from None
        refuse(not shape.plain and (not self.rounding or not self.delta or self.stop_margin or self.listening),
               "layers and rules are trained on clips with rounding and delta, and do not decide early; leave the "
               "others out")
        refuse(self.memory and self.gru[0] != self.memory.order * self.memory.channels,
               "the first layer has as many neurons as 'memory' has channels times its order")
        refuse(self.memory and not (shape.layers[0].recurrent and shape.layers[0].activation == "identity"),
               "the layer of a 'memory' is of the cell unit, hears itself and has the activation identity")
        refuse(shape.plain and any(self.dropout), "dropout is for networks with 'layers'; leave it out")

    def network(self, features: int, classes: int) -> Network:
        """The network to train; ModelError if there is no such network."""
        layers = len(self.gru)
        fracs = self.weight_fracs or (Layer.weight_frac,) * (layers + 1)
        made = self.layers or (LayerRecipe(cell=self.cell),) * layers
        shapes = tuple(Layer(size, frac, cell=cell_of(m.cell), activation=m.activation, recurrent=m.recurrent,
                             consumes=m.consumes, hears=m.hears, bias_columns=m.bias_columns,
                             conv=m.conv and m.conv.made, skip=m.skip and m.skip.made)
                       for size, frac, m in zip(self.gru, fracs, made, strict=False))
        last = Layer(classes, fracs[-1], consumes=self.classifier.consumes, bias_columns=self.classifier.bias_columns)
        return Network(features, shapes, last, self.thresholds, tuple(rule and rule.made for rule in self.rules))

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
        return from_json(Recipe, d)

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
        try:
            return Recipe.from_dict(d)
        except DataError as error:      # it names a recipe that may be a copy's original
            raise DataError(f"'{path}': " + str(error).removeprefix(f"recipe {d.get('name', '')!r}: ")) from None

    def write(self, path: str | Path) -> None:
        with replacing(path) as part:
            part.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
