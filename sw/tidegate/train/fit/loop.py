"""The training loop: AdamW, one cycle, thresholds and sparsity cost annealed in; resumable after every epoch.

All chance comes from (seed, epoch), so a resumed run gives the same model as one that was never stopped.
"""

import json
import math
import time
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from tidegate.golden import DeltaNetwork, FloatNetwork
from tidegate.golden.encoder import whole_threshold
from tidegate.host.features import settings_of
from tidegate.spec.cells import cell_of
from tidegate.spec.files import replacing
from tidegate.spec.formats import whole_theta
from tidegate.spec.model import Model, read_model, save_model

from ..data.augment import Batch
from ..data.folders import SILENCE
from ..data.split import ALL_PARTS
from ..data.streams import Mined
from ..errors import DataError
from ..judge.evaluate import column_words, evaluate
from ..recipe import Recipe
from ..tasks.protocol import Examples
from ..tasks.registry import find_task
from .begin import inhibit_each_other, remember, spread_weights
from .checkpoint import read_checkpoint, write_checkpoint
from .log import Epoch, log_path, write_log
from .made_with import made_with
from .objective import Budget, distance_of_rates, until
from .rank import entropy, until_decided
from .reject import with_rejection


class Trainer:
    """One run of a recipe on examples of its task; ``epochs()`` trains and yields an ``Epoch`` each, as in ``log``."""

    def __init__(self, recipe: Recipe, features: Examples, out: Path, resume: bool = False,
                 progress: bool = False, start: Model | None = None):
        if features.task != recipe.task:
            raise DataError(f"recipe '{recipe.name}' has the task '{recipe.task}', and the examples are of the task "
                            f"'{features.task}'; load them by the recipe's task")
        self.recipe, self.features, self.out, self.progress = recipe, features, out, progress
        self.task = find_task(recipe.task)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_float32_matmul_precision("highest")       # a GPU's faster formats are not exact
        torch.manual_seed(recipe.seed)
        torch.set_flush_denormal(True)          # gradients too small for a float make products much slower
        self.mean, self.scale = features.normalisation()
        if start is not None:
            _check_start(start, recipe, features, self.task.front_end(recipe))
            self.mean, self.scale = start.tensors["frontend.mean"], start.tensors["frontend.scale"]
        self.augmenter = self.task.batches(recipe, features, self.mean, self.scale)
        self.network = _network(recipe, features.width, len(features.labels)).to(self.device)
        if start is not None:
            self.network.load_state_dict(dict(DeltaNetwork.from_model(start).named_parameters()))   # Θ is the recipe's
        self.stop, self.finer = recipe.stop(features.labels), [1] * len(recipe.thresholds)
        groups: list[dict] = [{"params": list(self.network.parameters())}]
        self.log_thresholds = None
        if recipe.learn_thresholds:
            thetas = torch.tensor(recipe.thresholds, dtype=torch.float32, device=self.device)
            self.log_thresholds = thetas.log().requires_grad_()
            groups.append({"params": [self.log_thresholds], "weight_decay": 0.0})
        self.train = torch.from_numpy(_training_clips(features, recipe.augmentation.silence_repeats))
        self.task_loss = self.task.loss(recipe, features, self.train.numpy(), self.device)
        self.batches = self._batches()
        self.mined = Mined()
        self.told: dict = {}        # of an epoch, for the card
        self.optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        steps = max(self._updates() + 1, 20)        # fewer would make a phase of length zero
        peaks = [recipe.learning_rate, recipe.learning_rate * recipe.threshold_rate][: len(groups)]
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, peaks, total_steps=steps, pct_start=0.2)
        self.columns = column_words(self.network.network, recipe.budget_lanes)
        self.budget = Budget(self.columns, recipe.budget, steps) if recipe.budget else None
        self.epoch, self.best, self.best_epoch, self.log = 0, -math.inf, 0, []
        self.digest = self._belongs_to(start)
        self.begun: dict = {"made_with": made_with(self.device)}            # for the card
        if start is not None:
            self.begun["from"] = start.digest
        if resume:
            self._resume()

    def _belongs_to(self, start: Model | None) -> str:
        """What a checkpoint belongs to."""
        return _digest(self.recipe, self.features, start)

    def _batches(self) -> int:
        """Updates of the weights per epoch."""
        return -(-len(self.train) // self.recipe.batch)

    def _updates(self) -> int:
        """Updates of the weights in the whole run."""
        return self.batches * self.recipe.epochs

    def epochs(self):
        patience = self.recipe.patience or math.inf
        while self.epoch < self.recipe.epochs and self.epoch - (self.best_epoch or self.epoch) < patience:
            started, share = time.monotonic(), self._annealed(self.epoch)
            self._set_rules(self.epoch)
            if share == 1 and self.recipe.weight_bits:
                self.network.set_format(self.recipe.weight_fracs or (), self.recipe.weight_bits)
            early, loss = self._early(self.epoch), self._train_epoch(share)
            self.epoch += 1
            self.network.thresholds = self._whole_thresholds(share)
            figures = evaluate(self._model(self._card()), self.features, "validation", early=early)
            score, words, misses = self._judge_epoch(figures)
            settled = share == 1 and early == bool(self.stop) and self._coarse(self.epoch - 1) == 1 and (
                self._may_be_best())
            if settled and score >= self.best:                  # a tie: the later one, at a lower learning rate
                self.best, self.best_epoch = score, self.epoch
                self._write()
            self.log.append(Epoch(
                self.epoch, loss, figures[self.task.primary.name], figures["fetch_reduction"], words,
                tuple(figures["occupancy"]), tuple(self.network.thresholds), self.budget.price if self.budget else None,
                float(self.schedule.get_last_lr()[0]), time.monotonic() - started,
                figures.get("frames_used"), misses))
            write_log(log_path(self.out), self.log, self.task.primary.name)
            self._checkpoint()
            yield self.log[-1]
        self._judge()

    def _may_be_best(self) -> bool:
        """Whether the epoch that is over trained what the model is for."""
        return True

    def _judge_epoch(self, figures: dict) -> tuple[float, float, float | None]:
        """(what makes an epoch the best, weight words per frame, misses in streams) from its figures on clips.

        The first is the task's primary figure, such as accuracy, less a point for every percent above the budget.
        """
        score = self.task.primary.score(figures)
        words = sum(n * c for n, c in zip(figures["events"], self.columns, strict=True)) / figures["frames"]
        if not self.budget:
            return score, words, None
        self.budget.measured(words)
        return score - max(0.0, words / self.budget.target - 1), words, None

    def _annealed(self, epoch: int) -> float:
        """Share of thresholds and cost in force in an epoch; all of it in the last one."""
        ramp = min(self.recipe.anneal * self.recipe.epochs, self.recipe.epochs - 1)
        return min(1.0, epoch / ramp) if ramp > 0 else 1.0

    def _coarse(self, epoch: int) -> float:
        """How far the rules ``diffuse`` are from steps of 1 LSB to theirs, in an epoch."""
        ramp = min(self.recipe.coarsen * self.recipe.epochs, self.recipe.epochs - 1)
        return min(1.0, epoch / ramp) if ramp > 0 else 1.0

    def _set_rules(self, epoch: int) -> None:
        """The rules of an epoch: all that ``diffuse`` are finer by one power of two."""
        if any(self.recipe.rules):
            rules = [rule and rule.made for rule in self.recipe.rules]
            self.finer = [1 if rule is None else 1 << round((1 - self._coarse(epoch)) * rule.log2_step)
                          for rule in rules]
            assert isinstance(self.network, DeltaNetwork)      # the recipe sees to it
            self.network.rules = tuple(rule and replace(
                rule, step=rule.step // f, lowest=rule.lowest * f, highest=rule.highest * f)
                for rule, f in zip(rules, self.finer, strict=True))

    def _early(self, epoch: int) -> bool:
        """Whether in an epoch a batch ends where it has decided; at least in the last one."""
        last = self.recipe.epochs - 1
        return (self.stop is not None and self._annealed(epoch) == 1
                and epoch >= min(self.recipe.stop_from * self.recipe.epochs, last))

    def _whole_thresholds(self, share: float) -> list[int]:
        """Θ that the exported model has: whole, without what agility makes of it."""
        if not self.recipe.delta:
            return list(self.recipe.thresholds)
        return [whole_threshold(theta) for theta in self._thresholds(share, 1.0)]

    def _thresholds(self, share: float, factor: float) -> list[Tensor | int]:
        """Θ of a batch."""
        if not self.recipe.delta:
            return [0] * len(self.recipe.thresholds)
        if self.log_thresholds is None or share < 1:
            rules = self.recipe.rules or [None] * len(self.recipe.thresholds)
            return [whole_theta(share * factor * t) if rule is None else max(1, t // f)
                    for t, rule, f in zip(self.recipe.thresholds, rules, self.finer, strict=True)]
        return list((self.log_thresholds.exp() * (share * factor)).unbind())

    def _train_epoch(self, share: float) -> float:
        rng = torch.Generator().manual_seed(self.recipe.seed * 100_003 + self.epoch)
        noise = torch.Generator().manual_seed(self.recipe.seed * 100_003 + self.epoch + 50_000_017)
        total = 0.0
        for clips in track(self._shuffled(rng), f"epoch {self.epoch + 1}", transient=True, disable=not self.progress):
            batch = self.augmenter(clips, rng).to(self.device)
            batch.progress = self.epoch / self.recipe.epochs
            loss = self._loss(batch, share, self._factor(rng), noise)
            self._update(loss)
            total += loss.item()
        return total / self.batches

    def _update(self, loss: Tensor) -> None:
        """One step of the weights down the gradient of a loss; DataError if there is none any more."""
        if not math.isfinite(loss.item()):
            raise DataError(f"the loss of recipe '{self.recipe.name}' is {loss.item()}: the training has diverged; "
                            "choose a lower learning_rate")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.schedule.step()
        self.network.clip_()

    def _factor(self, rng: torch.Generator) -> float:
        """On all Θ of a batch: log-uniform within the recipe's agility."""
        if not self.recipe.agility:
            return 1.0
        low, high = map(math.log, self.recipe.agility)
        return math.exp(low + (high - low) * torch.rand((), generator=rng).item())

    def _loss(self, batch: Batch, share: float, factor: float, noise: torch.Generator) -> Tensor:
        thresholds, early = self._thresholds(share, factor), self._early(self.epoch)
        if early:
            assert self.stop is not None and isinstance(self.network, DeltaNetwork)     # the recipe sees to it
            batch = until_decided(self.network, batch, self.stop, thresholds)
        dropout = {"dropout": self.recipe.dropout} if any(self.recipe.dropout) else {}
        output = self.network(batch.frames, thresholds=thresholds, noise=self.recipe.hidden_noise, generator=noise,
                              **dropout)
        loss = self.task_loss(output.logits, batch, 1 if early else self.recipe.decision_frames)
        if early and self.recipe.entropy_reward:
            loss = loss - self.recipe.entropy_reward * entropy(output.logits, batch)
        if share and self.recipe.sparsity_cost:
            loss = loss + share * self.recipe.sparsity_cost * sum(output.movements)
        if self.recipe.rate_cost:
            loss = loss + self.recipe.rate_cost * sum(distance_of_rates(s, self.recipe.rate)
                                                      for s in output.signals[1:] if s.diffuses)
        if share and self.budget:
            valid = until(batch.decisions[-1][0], len(batch.frames))
            loss = loss + self.budget.cost(output.events, valid, share)
        return loss

    def _shuffled(self, rng: torch.Generator) -> list[Tensor]:
        """Batches in random order of clips of similar length (sorted within groups of eight batches)."""
        order = self.train[torch.randperm(len(self.train), generator=rng)]
        sizes = torch.from_numpy(np.diff(self.features.offsets))
        groups = [g[sizes[g].argsort(stable=True)] for g in order.split(8 * self.recipe.batch)]
        batches = [b for g in groups for b in g.split(self.recipe.batch)]
        return [batches[i] for i in torch.randperm(len(batches), generator=rng)]

    def _card(self) -> dict:
        """What tells a judge how this model answers."""
        return {"recipe": {"readout_frames": self.recipe.readout_frames}}

    def _model(self, card: dict) -> Model:
        model = self.network.export(self.features.labels, self.task.front_end(self.recipe), self.mean, self.scale, card)
        return replace(model, stop=self.stop).read_by(self.task.readout(self.features))

    def _write(self) -> None:
        f, model = self.features, self._model(self._card())
        card: dict = {"recipe": self.recipe.to_dict(), "clips": {part: len(f.of(part)) for part in ALL_PARTS},
                      "skipped": len(f.skipped), "epoch": self.epoch, **self.begun, **self.told}
        if self.recipe.reject:
            model, card["rejection"] = with_rejection(model, f, self.recipe.reject)
        card["validation"] = evaluate(model, f, "validation", model.stop is not None, not model.network.plain)
        self._save(replace(model, card=card))

    def _judge(self) -> None:
        """Figures on the other parts: once, for the model that was kept, when nothing is left to be chosen."""
        model = read_model(self.out)
        parts = [part for part in ALL_PARTS[2:] if model.card["clips"][part]]
        figures = {part: evaluate(model, self.features, part, model.stop is not None, not model.network.plain)
                   for part in parts}
        self._save(replace(model, card=model.card | figures))

    def _save(self, model: Model) -> None:
        try:
            with replacing(self.out) as part:
                save_model(model, part)
        except OSError as error:
            raise DataError(f"'{self.out}' cannot be written ({error.strerror}); choose another place") from None

    def _checkpoint(self) -> None:
        state = {"digest": self.digest, "epoch": self.epoch, "best": self.best, "best_epoch": self.best_epoch,
                 "log": [asdict(epoch) for epoch in self.log], "network": self.network.state_dict(),
                 "log_thresholds": self.log_thresholds, "budget": self.budget and self.budget.state(),
                 "mined": asdict(self.mined),
                 "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}
        write_checkpoint(self.out, state)

    def _resume(self) -> None:
        state = read_checkpoint(self.out, self.digest, self.device)
        self.epoch, self.best, self.best_epoch = state["epoch"], state["best"], state["best_epoch"]
        self.log = [Epoch(**epoch) for epoch in state["log"]]
        self.mined = Mined(**state["mined"])
        if self.log_thresholds is not None:
            self.log_thresholds.data.copy_(state["log_thresholds"])
        if self.budget:
            self.budget.restore(state["budget"])
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def _training_clips(features: Examples, silence_repeats: int) -> np.ndarray:
    """Numbers of the clips of an epoch, those of silence repeated."""
    train = features.of("train")
    if SILENCE not in features.labels:
        return train
    silence = train[features.targets[train] == features.labels.index(SILENCE)]
    return np.concatenate([train, *[silence] * (silence_repeats - 1)])


def _digest(recipe: Recipe, features: Examples, start: Model | None) -> str:
    """A digest of all that a run follows from."""
    parts = [recipe.to_dict(), features.labels, *([] if start is None else [start.digest])]
    digest = sha256(json.dumps(parts).encode())
    for array in (features.targets, features.parts, features.offsets, features.content):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_start(start: Model, recipe: Recipe, features: Examples, front_end: dict) -> None:
    """DataError if a run of this recipe on these features cannot begin with a model's weights."""
    if not recipe.rounding:
        raise DataError(f"recipe '{recipe.name}' trains a float network, which cannot begin with a model's integers; "
                        "choose a recipe with rounding, or leave the model out")
    net = start.network
    for what, has, wants in (("labels", ", ".join(start.labels), ", ".join(features.labels)),
                             ("layers", [layer.size for layer in net.layers], list(recipe.gru)),
                             ("cells", [layer.cell.name for layer in net.layers],
                              [layer.cell.name for layer in recipe.network(features.width, 1).layers]),
                             ("number of features", net.features, features.width)):
        if has != wants:
            raise DataError(f"the model to begin with does not fit recipe '{recipe.name}': its {what}: {has}; "
                            f"wanted: {wants}")
    if front_end and settings_of(start).to_dict() != front_end:
        raise DataError(f"the model to begin with does not fit recipe '{recipe.name}': it has another front end; "
                        "copy the frontend of the model's recipe")


def _network(recipe: Recipe, width: int, classes: int) -> DeltaNetwork | FloatNetwork:
    if not recipe.rounding:
        return FloatNetwork(width, recipe.gru, classes, cell_of(recipe.cell))
    shape = recipe.network(width, classes)
    if shape.plain:
        cells = [layer.cell for layer in shape.layers]
        return DeltaNetwork(width, recipe.gru, classes, weight_fracs=recipe.weight_fracs, cells=cells)
    network = DeltaNetwork.of(shape)
    network.slope, network.error_scale = recipe.gradient, recipe.error_scale
    if recipe.weight_spread:
        spread_weights(network, recipe.weight_spread)
    if recipe.memory:
        remember(network, recipe.memory)
        if recipe.memory.still and network.layers[0].weight_hh is not None:
            network.layers[0].weight_hh.requires_grad_(False)
    if recipe.inhibition:
        inhibit_each_other(network, recipe.inhibition)
    return network
