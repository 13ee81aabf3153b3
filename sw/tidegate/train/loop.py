"""The training loop: AdamW, one cycle, thresholds and sparsity cost annealed in; resumable after every epoch.

All chance comes from (seed, epoch), so a resumed run gives the same model as one that was never stopped.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from tidegate.golden import DeltaNetwork
from tidegate.host.figures import ratio_text
from tidegate.host.frontend import log_energies
from tidegate.spec.formats import SIGNAL
from tidegate.spec.model import Model, save_model

from .augment import Augmenter, Batch
from .data import PARTS, SILENCE, DataError, scan
from .evaluate import evaluate
from .features import Features, load_features
from .recipe import Recipe
from .survey import survey_lines


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean loss, accuracy and fetch reduction on the validation part."""

    number: int
    loss: float
    accuracy: float
    fetch_reduction: float | None


def run(directory: str | Path, recipe: Recipe, out: str | Path, *, cache: str | Path | None = None,
        resume: bool = False, progress: bool = True, speaker: str = "") -> Path:
    """Train on a folder of words (see ``data.scan``) and write the best model, by validation, to ``out``.

    The file is written whenever an epoch is no worse than those before, once the thresholds are fully there; a
    checkpoint ``out.checkpoint`` after each epoch lets ``resume=True`` go on.  The card holds recipe, split sizes
    and the figures on the validation part and, where there is one, the test part.  ``speaker``: keep all clips of
    this speaker for the test part.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise DataError(f"'{out}' cannot be written (no folder '{out.parent}'); choose another place")
    console = Console(stderr=True, quiet=not progress)
    data = scan(directory, recipe.keywords, speaker, unknown=recipe.unknown, silence=recipe.silence)
    features = load_features(data, recipe.frontend, cache, progress)
    for line in survey_lines(features):
        console.print(line, soft_wrap=True, markup=False)
    for epoch in Trainer(recipe, features, out, resume, progress).epochs():
        console.print(f"epoch {epoch.number:3}/{recipe.epochs}  loss {epoch.loss:.3f}  "
                      f"validation {epoch.accuracy:.2%}  fetch reduction {ratio_text(epoch.fetch_reduction, 2)}")
    checkpoint_path(out).unlink(missing_ok=True)
    return out


def checkpoint_path(out: Path) -> Path:
    """Where the state of an unfinished run for ``out`` is kept."""
    return out.with_name(out.name + ".checkpoint")


def normalisation(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """(mean, scale) float32 (bands,) of the training clips' features; scaled features have variance 1."""
    train = features.of("train")
    frames = log_energies(np.concatenate([features.clip(i) for i in train]), features.settings.floor)
    return frames.mean(0, dtype=np.float64).astype(np.float32), (1 / (frames.std(0, dtype=np.float64) + 1e-3)).astype(
        np.float32)


class Trainer:
    """One run of a recipe on features; ``epochs()`` trains and yields what each epoch came to."""

    def __init__(self, recipe: Recipe, features: Features, out: Path, resume: bool = False, progress: bool = False):
        self.recipe, self.features, self.out, self.progress = recipe, features, out, progress
        torch.manual_seed(recipe.seed)
        self.mean, self.scale = normalisation(features)
        self.augmenter = Augmenter(features, recipe.augmentation, self.mean, self.scale)
        self.network = DeltaNetwork(recipe.frontend.bands, recipe.gru, len(features.labels),
                                    weight_fracs=recipe.weight_fracs)
        self.train = torch.from_numpy(_training_clips(features, recipe.augmentation.silence_repeats))
        self.batches = -(-len(self.train) // recipe.batch)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=recipe.weight_decay)
        steps = max(self.batches * recipe.epochs + 1, 20)       # fewer would make a phase of length zero
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.learning_rate, total_steps=steps, pct_start=0.2)
        self.epoch, self.best = 0, -1.0
        self.digest = sha256(json.dumps([recipe.to_dict(), features.labels, len(self.train)]).encode()).hexdigest()
        if resume:
            self._resume()

    def epochs(self):
        while self.epoch < self.recipe.epochs:
            share = self._annealed(self.epoch)
            self.network.thresholds = [round(share * t) for t in self.recipe.thresholds]
            loss = self._train_epoch(share * self.recipe.sparsity_cost)
            self.epoch += 1
            figures = evaluate(self._model({}), self.features, "validation")
            if share == 1 and figures["accuracy"] >= self.best:     # a tie: the later one, at a lower learning rate
                self.best = figures["accuracy"]
                self._write(figures)
            self._checkpoint()
            yield Epoch(self.epoch, loss, figures["accuracy"], figures["fetch_reduction"])

    def _annealed(self, epoch: int) -> float:
        """Share of thresholds and cost in force in an epoch; all of it in the last one."""
        ramp = min(self.recipe.anneal * self.recipe.epochs, self.recipe.epochs - 1)
        return min(1.0, epoch / ramp) if ramp > 0 else 1.0

    def _train_epoch(self, sparsity_cost: float) -> float:
        rng = torch.Generator().manual_seed(self.recipe.seed * 100_003 + self.epoch)
        total = 0.0
        for clips in track(self._shuffled(rng), f"epoch {self.epoch + 1}", transient=True, disable=not self.progress):
            batch = self.augmenter(clips, rng)
            output = self.network(batch.frames)
            loss = self._cross_entropy(output.logits, batch)
            if sparsity_cost:
                loss = loss + sparsity_cost * sum(_movement(a) for a in output.anchors[1:])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
            self.optimiser.step()
            self.schedule.step()
            self.network.clip_()
            total += loss.item()
        return total / self.batches

    def _shuffled(self, rng: torch.Generator) -> list[Tensor]:
        """Batches in random order of clips of similar length (sorted within groups of eight batches)."""
        order = self.train[torch.randperm(len(self.train), generator=rng)]
        sizes = torch.from_numpy(np.diff(self.features.offsets))
        groups = [g[sizes[g].argsort(stable=True)] for g in order.split(8 * self.recipe.batch)]
        batches = [b for g in groups for b in g.split(self.recipe.batch)]
        return [batches[i] for i in torch.randperm(len(batches), generator=rng)]

    def _cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = []
        for last, target in batch.decisions:
            for back in range(self.recipe.decision_frames):
                picked = logits[(last - back).clamp_min(0), torch.arange(len(target))]
                losses.append(torch.nn.functional.cross_entropy(
                    picked, target, label_smoothing=self.recipe.label_smoothing))
        return torch.stack(losses).mean()

    def _model(self, card: dict) -> Model:
        return self.network.export(self.features.labels, self.recipe.frontend.to_dict(), self.mean, self.scale, card)

    def _write(self, validation: dict) -> None:
        f = self.features
        parts = {part: len(f.of(part)) for part in PARTS}
        card = {"recipe": self.recipe.to_dict(), "clips": parts, "skipped": len(f.skipped), "epoch": self.epoch,
                "validation": validation}
        if parts["test"]:
            card["test"] = evaluate(self._model({}), f, "test")
        part = self.out.with_name(self.out.name + ".part")
        try:
            save_model(self._model(card), part)
            part.replace(self.out)
        except OSError as error:
            raise DataError(f"'{self.out}' cannot be written ({error.strerror}); choose another place") from None

    def _checkpoint(self) -> None:
        path = checkpoint_path(self.out)
        part = path.with_name(path.name + ".part")
        state = {"digest": self.digest, "epoch": self.epoch, "best": self.best, "network": self.network.state_dict(),
                 "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}
        try:
            torch.save(state, part)
            part.replace(path)
        except (OSError, RuntimeError) as error:        # torch's own writer raises the second, as on a full disk
            reason = str(error).partition("\n")[0]
            raise DataError(f"'{path}' cannot be written ({reason}); make room or choose another place") from None

    def _resume(self) -> None:
        path = checkpoint_path(self.out)
        if not path.is_file():
            raise DataError(f"nothing to resume: there is no '{path}'; train without resuming")
        try:
            state = torch.load(path, weights_only=True)
            digest = state["digest"]
        except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError):
            raise DataError(f"'{path}' is no readable checkpoint; delete it and train without resuming") from None
        if digest != self.digest:
            raise DataError(f"'{path}' belongs to another recipe or data set; delete it or train without resuming")
        self.epoch, self.best = state["epoch"], state["best"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def _training_clips(features: Features, silence_repeats: int) -> np.ndarray:
    """Numbers of the clips of an epoch, those of silence repeated."""
    train = features.of("train")
    if SILENCE not in features.labels:
        return train
    silence = train[features.targets[train] == features.labels.index(SILENCE)]
    return np.concatenate([train, *[silence] * (silence_repeats - 1)])


def _movement(anchors: Tensor) -> Tensor:
    """Mean |Δĥ| of anchors (T, B, H) over frames, batch and units, h in ±1."""
    return (anchors[1:] - anchors[:-1]).abs().mean() * 2.0**-SIGNAL.frac
