"""Training on endless streams, the hidden state carried from chunk to chunk (see ``streams.py``, ``listening.py``)."""

import json
import math
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from tidegate.golden import DeltaNetwork
from tidegate.host.detector import DEFAULTS
from tidegate.spec.model import Model, read_model

from ..data.feature_bank import Material
from ..data.features import Features
from ..data.folders import SILENCE, UNKNOWN
from ..data.material import NOTHING_ELSE, SoundFolders
from ..data.stream_options import Teaching
from ..data.streams import Mined, Mixer
from ..errors import DataError
from ..judge.evaluate import evaluate
from ..recipe import Recipe
from .listening import DetectionCurve, StreamLoss, listen, mine, start_of
from .loop import Trainer
from .reject import with_balance
from .teacher import Ear, Teacher, lesson, teacher_path, trained_teacher

_JUDGED_S = 7200            # of made streams, after each epoch
_TEACHER_CHUNK = 320        # frames, about
_CHOSEN_S = 36000           # of other made streams, to set the threshold of the detector in the end
_PER_HOUR = (1.0, 2.0, 4.0, 8.0)    # false accepts at which an epoch is judged


class StreamTrainer(Trainer):
    """A run of a recipe with ``listening``: an epoch is so many chunks, and what counts are misses on streams."""

    def __init__(self, recipe: Recipe, features: Features, out: Path, material: Material, judged: Material,
                 resume: bool = False, progress: bool = False, sources: SoundFolders = NOTHING_ELSE,
                 start: Model | None = None, teacher_file: Path | None = None):
        assert recipe.listening is not None
        self.teacher_file = teacher_file or teacher_path(out)
        self.options, self.material, self.judged, self.sources = recipe.listening, material, judged, sources
        if UNKNOWN not in features.labels:
            raise DataError(f"recipe '{recipe.name}': listening takes a class 'unknown'; set unknown to auto")
        super().__init__(recipe, features, out, resume, progress, start)
        labels = features.labels
        self.loss = StreamLoss(self.options, sum(x not in (UNKNOWN, SILENCE) for x in labels), labels.index(UNKNOWN),
                               labels.index(SILENCE) if SILENCE in labels else -1)
        self.mixer = Mixer(material, self.options, self.mean, self.scale, recipe.frontend, recipe.augmentation,
                           self.mined)
        plain = replace(self.options, streams=40, reset=0.0, wet=0.0, mined=0.0, splice=0.0, gain=6.0,
                        snr=(10.0, 40.0), gap=(60, 180), speech=(400, 800))
        self.ear: Ear | None = None
        self.judge_mixer = Mixer(judged, plain, self.mean, self.scale, recipe.frontend)

    def _belongs_to(self, start: Model | None) -> str:
        parts = (super()._belongs_to(start).encode(), self.material.digest, self.judged.digest)
        return sha256(b"".join(parts)).hexdigest()

    def epochs(self):
        if self.recipe.teacher and self.recipe.teacher.weight and self.epoch < self.recipe.epochs:
            self.ear = Ear(self._teacher(self.recipe.teacher), self.recipe.teacher.bfloat16)
        yield from super().epochs()

    def _teacher(self, options: Teaching) -> Teacher:
        """Trained on the same streams, in long chunks, as it computes the past of each chunk again."""
        o, recipe, mined = self.options, self.recipe, Mined()
        longer = max(1, round(_TEACHER_CHUNK / o.chunk))
        mixer = Mixer(self.material, replace(o, streams=-(-o.streams // longer), chunk=longer * o.chunk), self.mean,
                      self.scale, recipe.frontend, recipe.augmentation, mined)
        parts = [asdict(replace(options, weight=0, temperature=1)), asdict(o), asdict(recipe.augmentation), recipe.seed,
                 recipe.frontend.to_dict(), self.features.labels]
        digest = sha256(json.dumps(parts).encode()).hexdigest()      # it may have heard other recordings
        told = Console(stderr=True, quiet=not self.progress, markup=False).print
        return trained_teacher(self.teacher_file, options, self.features.width, len(self.features.labels), mixer,
                               self.loss, mined, recipe.seed, digest, self.device, told)

    def _updates(self) -> int:
        clips = min(self.options.clip_epochs, self.recipe.epochs)
        return clips * self.batches + (self.recipe.epochs - clips) * self.options.chunks

    def _train_epoch(self, share: float) -> float:
        if self.epoch < self.options.clip_epochs:
            return super()._train_epoch(share)
        seed = [self.recipe.seed, self.epoch]
        self.mixer.restart(np.random.default_rng(seed))
        if self.ear:
            self.ear.restart()
        rng, state, total = torch.Generator().manual_seed(self.recipe.seed * 100_003 + self.epoch), None, 0.0
        for _ in track(range(self.options.chunks), f"epoch {self.epoch + 1}", transient=True,
                       disable=not self.progress):
            chunk = self.mixer.chunk()
            thresholds = self._thresholds(share, self._factor(rng))
            output = self.network(chunk.frames.to(self.device), thresholds=thresholds,
                                  start=start_of(state, chunk.fresh))
            state = output.state
            loss = self.loss(output.logits, chunk.targets.to(self.device))
            if self.ear and self.recipe.teacher:
                with torch.no_grad():
                    told = self.ear.hear(chunk, self.device)
                loss = loss + self.recipe.teacher.weight * lesson(told, output.logits, self.recipe.teacher.temperature)
            if share and self.budget:
                loss = loss + self.budget.cost(output.events, torch.ones_like(output.events[0]), share)
            self._update(loss)
            mine(self.mined, chunk, output.logits, self.loss.keywords)
            total += loss.item()
        return total / self.options.chunks

    def _may_be_best(self) -> bool:
        return self.epoch > self.options.clip_epochs

    def _judge_epoch(self, figures: dict) -> tuple[float, float, float]:
        """What makes an epoch the best: keywords found in streams at few false accepts, and clips told apart."""
        assert isinstance(self.network, DeltaNetwork)
        self.heard = heard = self._listen(self.network, _JUDGED_S, 1)
        words = sum(n * c for n, c in zip(heard.events, self.columns, strict=True))
        misses = float(np.mean([heard.misses_at(rate) for rate in _PER_HOUR]))
        self.told = {"sources": self.sources.to_dict(),
                     "validation_streams": {"hours": heard.hours, "curve": heard.rows}}
        return (1 - misses + figures["accuracy"]) / 2, words, misses

    def _listen(self, network: DeltaNetwork, seconds: float, seed: int) -> DetectionCurve:
        o, frontend = self.judge_mixer.options, self.recipe.frontend
        chunks = int(seconds * frontend.sample_rate / frontend.hop / (o.chunk * o.streams)) + 1
        return listen(network, self.judge_mixer, chunks, np.random.default_rng(seed), frontend, DEFAULTS)

    def _judge(self) -> None:
        """Set the bias of ``unknown`` and the detector's threshold on the validation part; then the figures on all."""
        model = read_model(self.out)
        if model.detector is not None:          # a run that was stopped after this
            return super()._judge()
        model, balance = with_balance(model, self.features, self.options.rejected)
        heard = self._listen(DeltaNetwork.from_model(model), _CHOSEN_S, 2)
        row = heard.at(self.options.false_accepts) or heard.rows[-1]
        threshold = 1 / (1 + math.exp(-row["margin"]))
        rule = replace(DEFAULTS, threshold=threshold).rule(model.labels, self.recipe.frontend,
                                                           model.network.classifier.weight_frac)
        chosen = {"hours": heard.hours, "threshold": threshold, "wanted_per_hour": self.options.false_accepts, **row}
        self._save(replace(model, detector=rule, card=model.card | {
            "detector": chosen, "rejection": balance, "validation": evaluate(model, self.features, "validation")}))
        super()._judge()
