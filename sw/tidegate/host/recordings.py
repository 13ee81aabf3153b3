"""Recordings of one word each on a board: the board's decision, and its cost beside that of dense mode.

    with Board.open("virtual") as board:
        board.load(model)
        print(decide(board, features_of(model, "left.wav"), model).label)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from warnings import warn

import numpy as np

from ..clips import BundledClip, expected_label
from ..spec.errors import TidegateError, TidegateWarning
from ..spec.model import Model
from ..spec.network import Network
from ..spec.stop import clearest
from .board import Board
from .features import settings_of
from .figures import Cost, comparison
from .frontend import FrontEndSettings
from .word import LONGEST_S, WORD_S, find_word


@dataclass(frozen=True)
class Decision:
    """A board's decision on one recording: label and confidence of the deciding frame, and the cost of all frames run.

    ``frame``: number of the deciding frame.  The board's stop rule chooses it; else, for a model that listens, its
    clearest answer does (``tidegate.spec.stop.clearest``); else ``tidegate.host.word``.  ``decided_at``: number of the
    frame in which the stop rule was met, or None.  ``frames``: of the recording.
    """

    label: str
    confidence: float
    cost: Cost
    decided_at: int | None
    frames: int
    frame: int

    def times(self, frontend: FrontEndSettings) -> tuple[float, float]:
        """Seconds of sound that had been heard at the decision (without one: at the end), and of the recording."""
        return frontend.heard(self.cost.frames), frontend.heard(self.frames)

    def to_dict(self, frontend: FrontEndSettings) -> dict:
        at, seconds = self.times(frontend)
        return {"frame": self.frame, "decided_at": self.decided_at,
                "decided_at_s": None if self.decided_at is None else at, "seconds": seconds,
                "frames_used": self.cost.frames / self.frames}


@dataclass(frozen=True)
class ComparedClip:
    """A clip on a board: the ``decision``, and what the clip costs in ``dense`` mode.

    ``right``: whether the label is that of the spoken word; None if the model has no label for the word.
    """

    clip: BundledClip
    decision: Decision
    dense: Cost
    right: bool | None

    def to_dict(self, model: Model) -> dict:
        decision, clip = self.decision, self.clip
        return {"word": clip.word, "voice": clip.voice, "decided": decision.label, "right": self.right,
                "confidence": decision.confidence, **decision.to_dict(settings_of(model)),
                **against_dense(decision.cost, self.dense, model.network)}


def decide(board: Board, frames: np.ndarray, model: Model) -> Decision:
    """Stream a recording's features (frames, bands) from reset; ``model`` is that on the board."""
    results = list(board.stream(frames))
    at = results[-1].decided_at
    if at is None and model.detector is not None:
        frame, label = clearest(np.array([result.logits for result in results]), model.detector)
        return Decision(model.labels[label], results[frame].confidence, Cost.of(results), at, len(frames), frame)
    frame = find_word(frames, settings_of(model)).decision if at is None else at
    return Decision(results[frame].label, results[frame].confidence, Cost.of(results), at, len(frames), frame)


def compare_with_dense(board: Board, model: Model,
                       clips: Sequence[tuple[BundledClip, np.ndarray]]) -> Iterator[ComparedClip]:
    """Run clips, each given with its features (frames, bands), in delta mode with the model's stop rule, and count what
    the whole clip costs in dense mode; TidegateError if dense costs differ between clips of one length."""
    board.stop = model.stop
    dense = dense_costs(board, [frames for _, frames in clips])
    for clip, frames in clips:
        decision = decide(board, frames, model)
        expected = expected_label(clip.word, model.labels)
        yield ComparedClip(clip, decision, dense[len(frames)], None if expected is None else decision.label == expected)


def dense_costs(board: Board, clips: Iterable[np.ndarray]) -> dict[int, Cost]:
    """Number of frames → cost of such a clip in dense mode, measured on two clips of each length.

    TidegateError if the two costs differ: in dense mode the cost does not depend on the sound.
    """
    by_length: dict[int, list[Cost]] = {}
    board.dense, stop, board.stop = True, board.stop, None
    for frames in clips:
        costs = by_length.setdefault(len(frames), [])
        if len(costs) < 2:
            costs.append(Cost.of(list(board.stream(frames))))
    board.dense, board.stop = False, stop
    if any(len(set(costs)) > 1 for costs in by_length.values()):
        raise TidegateError("in dense mode this board's clips differ in cost; its core is not this version's")
    return {length: costs[0] for length, costs in by_length.items()}


def total_costs(compared: Iterable[ComparedClip], network: Network) -> tuple[Cost, Cost]:
    """The costs of all clips together, in delta and in dense mode."""
    delta, dense = Cost.none(network), Cost.none(network)
    for each in compared:
        delta, dense = delta + each.decision.cost, dense + each.dense
    return delta, dense


def against_dense(cost: Cost, dense: Cost, network: Network) -> dict:
    """A cost beside that of the same clips in dense mode, as plain data."""
    return {**cost.to_dict(network), "dense_cycles": dense.cycles, "dense_weight_words": dense.weight_words,
            **comparison(cost, dense, network)}


def check_word_length(path: Path, frames: np.ndarray, frontend: FrontEndSettings) -> None:
    """Whether a recording may be of one word: warns or raises a TidegateError if it is too long."""
    if (seconds := find_word(frames, frontend).seconds) > WORD_S:
        text = f"'{path}' holds {seconds:.1f} s of sound, longer than a word; `tidegate listen` hears words in a stream"
        if seconds > LONGEST_S:
            raise TidegateError(text)
        warn(TidegateWarning(f"{text}, and this is the label of its end"), stacklevel=2)
