"""A board's answer to a sequence of frames: a class, numbers, or a string of tokens."""

from dataclasses import dataclass

import numpy as np

from ..spec.formats import acc_frac
from ..spec.model import Model
from ..spec.stop import clearest
from .board import Board
from .ctc import Token, decoder_of
from .figures import Cost


@dataclass(frozen=True)
class Answer:
    """``cost`` of all frames run; ``frame``: number of the answering frame; ``frames``: of the sequence.

    Of a model that tells classes apart: ``label`` and ``confidence`` (softmax, 0..1), and ``decided_at``, the frame in
    which the board's stop rule was met, or None.  Of a model with a readout: ``values`` (frames, outputs), in the units
    of the outputs; ``label`` and ``confidence`` are None.  Of a model that tells strings: ``tokens``, likewise.
    """

    cost: Cost
    frame: int
    frames: int
    label: str | None = None
    confidence: float | None = None
    decided_at: int | None = None
    values: np.ndarray | None = None
    tokens: tuple[Token, ...] | None = None

    def text(self, model: Model) -> str:
        """The answer for a reader; of numbers those of the last frame."""
        if self.values is not None and model.readout is not None:
            return model.readout.text(model.labels, self.values[-1])
        if self.tokens is not None and model.tokens is not None:
            return model.tokens.text(model.labels, (token.label for token in self.tokens))
        return f"{self.label:10} {self.confidence:4.0%}"

    def to_dict(self, model: Model) -> dict:
        """As plain data: numbers of all frames, those of the last one by their names, or the label."""
        where = {"frame": self.frame, "frames": self.frames}
        if self.tokens is not None:
            told = [{"token": model.labels[token.label], "frame": token.frame} for token in self.tokens]
            return {"string": self.text(model), "tokens": told, **where}
        if self.values is None:
            return {"decided": self.label, "confidence": self.confidence, "decided_at": self.decided_at, **where}
        return {"numbers": dict(zip(model.labels, self.values[-1].tolist(), strict=True)),
                "values": self.values.tolist(), **where}


def answer(board: Board, frames: np.ndarray, model: Model) -> Answer:
    """Stream frames (T, features), at least one, from reset; ``model`` is that on the board.

    A class is that of the last frame, or of the mean of the logits over as many last frames as the model was trained
    to be read in; where the board decides early, that of the deciding frame; of a model that listens, the clearest in
    any frame.  A string is made while the frames come in.
    """
    if model.tokens is not None:
        decoder, results, tokens = decoder_of(model), [], []
        for result in board.stream(frames):
            results.append(result)
            tokens += decoder.accept([result.logits])
        return Answer(Cost.of(results), len(results) - 1, len(frames), tokens=(*tokens, *decoder.end()))
    results = list(board.stream(frames))
    cost, last, at = Cost.of(results), results[-1], results[-1].decided_at
    logits = np.array([result.logits for result in results], np.int64)
    if model.readout is not None:
        return Answer(cost, len(results) - 1, len(frames), values=model.numbers(logits))
    if at is not None:
        return Answer(cost, at, len(frames), last.label, last.confidence, at)
    if model.detector is not None:
        frame, label = clearest(logits, model.detector)
        return Answer(cost, frame, len(frames), model.labels[label], results[frame].confidence)
    window = model.card.get("recipe", {}).get("readout_frames", 1)
    if window == 1:
        return Answer(cost, len(results) - 1, len(frames), last.label, last.confidence)
    mean = (logits[-window:] if window else logits).mean(0) * 2.0 ** -acc_frac(model.network.classifier.weight_frac)
    odds = np.exp(mean - mean.max())
    return Answer(cost, len(results) - 1, len(frames), model.labels[int(odds.argmax())], float(odds.max() / odds.sum()))
