"""The task ``ctc``: to tell a string of tokens, such as a telephone number, from sound (connectionist temporal
classification, Graves et al. 2006)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tidegate.host.ctc import decode, decoder_of, token_errors
from tidegate.host.features import settings_of
from tidegate.spec.model import Model
from tidegate.spec.tokens import Tokens

from ..data.augment import Batch
from ..data.split import PARTS
from ..data.string_options import StringOptions
from ..data.strings import BLANK, Strings, load_recorded, load_strings
from ..errors import DataError
from ..recipe import Recipe
from ..validated import from_json
from .primary import WER
from .protocol import BatchMaker, Loss

TOKEN_COUNTS = 4.0      # in the loss of the marks a frame of a token counts as so many of the blank, which are more


@dataclass(frozen=True)
class StringTask:
    """Strings of the recipe's ``keywords``; the network has a label more, the blank.

    The loss is that of all alignments of a string.  The primary figure ``wer`` is the word error rate: substitutions,
    deletions and insertions of all strings over the tokens that were said.
    """

    name: str = "ctc"
    primary = WER

    def load(self, recipe: Recipe, directory: str | Path | None, *, cache: str | Path | None = None,
             progress: bool = False, speaker: str = "") -> Strings:
        if recipe.reject or recipe.leave_out or recipe.stop_margin or recipe.balance:
            raise DataError(f"recipe '{recipe.name}': leave_out, reject, balance and stop_margin are for single words, "
                            "and the task 'ctc' tells strings; leave them out")
        tokens = recipe.keywords
        if not tokens or len(set(tokens)) < len(tokens) or BLANK in tokens:
            raise DataError(f"recipe '{recipe.name}': the keywords of the task 'ctc' are its tokens, at least one, "
                            f"each once and none called '{BLANK}'; correct them")
        if directory is None or not Path(directory).is_dir():
            raise DataError(f"recipe '{recipe.name}' trains on strings of recorded words; give a folder of words, or a "
                            "folder of such folders")
        return load_strings(directory, tokens, recipe.strings or StringOptions(), recipe.frontend,
                            recipe.augmentation, recipe.test_share, speaker, cache, progress)

    def load_to_judge(self, model: Model, directory: str | Path | None, part: str | None, *,
                      cache: str | Path | None = None, progress: bool = False, speaker: str = "") -> Strings:
        """Strings composed of a folder of words, or those that a CSV tells of recordings."""
        if directory is None:
            raise DataError("this model tells strings; give with --data a folder of words, of which strings are made, "
                            "or a .csv of recordings and what is said in them")
        if model.tokens is None or model.tokens.blank != len(model.labels) - 1:
            raise DataError("this model tells no strings of tokens, or its last label is not the blank; train one with "
                            "the task ctc")
        recipe = model.card.get("recipe", {})
        options = from_json(StringOptions, recipe.get("strings") or {})
        tokens, settings = tuple(model.labels[:-1]), settings_of(model)
        if not Path(directory).is_dir():
            return load_recorded(directory, tokens, options, settings)
        return load_strings(directory, tokens, options, settings, None, recipe.get("test_share", 0.0), speaker, cache,
                            progress)

    def survey(self, examples: Strings) -> dict[str, Any]:
        return {part: {"strings": len(chosen), "tokens": int((examples.targets[chosen] >= 0).sum())}
                for part in PARTS for chosen in [examples.of(part)]}

    def lines(self, examples: Strings) -> list[str]:
        words = examples.words
        trained = f"{len(examples.counts)} strings per epoch of {len(words.voices)} recordings by " \
                  f"{len(set(words.voices.tolist()))} voices, " if words is not None else ""
        judged = ", ".join(f"{len(examples.of(part))} {part} strings" for part in PARTS[1:])
        return [f"task {self.name}: {trained}{judged}", *(f"warning: {line}" for line in examples.warnings)]

    def front_end(self, recipe: Recipe) -> dict[str, Any]:
        return recipe.frontend.to_dict()

    def readout(self, examples: Strings) -> Tokens:
        return Tokens(len(examples.labels) - 1, examples.options.beam)

    def batches(self, recipe: Recipe, examples: Strings, mean: np.ndarray, scale: np.ndarray) -> BatchMaker:
        return examples.batcher(mean, scale)

    def loss(self, recipe: Recipe, examples: Strings, train: np.ndarray, device: torch.device) -> Loss:
        """The negative logarithm of the sum over all alignments, per token, and the recipe's ``marks``."""
        blank, options = len(examples.labels) - 1, examples.options
        counts = torch.full((len(examples.labels),), TOKEN_COUNTS, device=device)
        counts[blank] = 1.0

        def alignments(logits: Tensor, batch: Batch, frames: int) -> Tensor:
            (last, tokens), = batch.decisions
            odds = logits.log_softmax(-1)
            loss = torch.nn.functional.ctc_loss(odds, tokens.clamp_min(0), last + 1, (tokens >= 0).sum(1), blank,
                                                zero_infinity=True)
            begin, end = options.marks
            weight = end + (begin - end) * max(0.0, 1 - batch.progress / options.marked if options.marked else 0.0)
            if weight and batch.marks is not None:
                wrong = torch.nn.functional.nll_loss(odds.flatten(0, 1), batch.marks.flatten(), counts,
                                                     ignore_index=-1, reduction="sum")
                loss = loss + weight * wrong / (tokens >= 0).sum()
            return loss

        return alignments

    def answers(self, model: Model, logits: np.ndarray, last: np.ndarray, early: bool) -> list[tuple[int, ...]]:
        """The tokens of each string, by the model's own beam."""
        decoder = decoder_of(model)
        return [tuple(token.label for token in decode(decoder, logits[: n + 1, k])) for k, n in enumerate(last)]

    def metrics(self, labels: tuple[str, ...], targets: np.ndarray,
                answers: Sequence[tuple[int, ...]]) -> dict[str, Any]:
        """``wer`` and what it is made of: ``tokens`` that were said, ``substitutions``, ``deletions``, ``insertions``;
        ``strings_right``: share of the strings without an error."""
        errors = [token_errors(target[target >= 0].tolist(), answer)
                  for target, answer in zip(targets, answers, strict=True)]
        said = int((targets >= 0).sum())
        replaced, missed, inserted = (sum(kind) for kind in zip(*errors, strict=True))
        return {"wer": (replaced + missed + inserted) / said, "tokens": said, "substitutions": replaced,
                "deletions": missed, "insertions": inserted,
                "strings_right": sum(not any(found) for found in errors) / len(errors)}
