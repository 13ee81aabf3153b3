"""Train deep networks of images as usual, and convert them to integrate-and-fire neurons (``golden/spike_norm.py``).

    python -m tidegate.train.study.deep DATA --network vgg --seeds 0 1 2 --out OUT

DATA is the folder of a set of images that ``tidegate data`` made: fashion-mnist, mnist or cifar-10.  For each seed,
the network is trained, or read from OUT if it was, and converted with thresholds balanced on spikes and on activations.
Each of the two takes the percentile that is best on a part of the validation images, and both are judged on test
images after 16 to 256 frames.  The table of layers says how sparse the network that is balanced on spikes gets with
depth.  Figures are written to OUT/NETWORK.json; ``python -m tidegate.train.publish.deep_plot`` draws them.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from pickle import UnpicklingError
from statistics import mean, stdev

import numpy as np
import torch

from tidegate.golden.spike_answers import ImageAnswers, answers
from tidegate.golden.spike_norm import BALANCES, SpikingConversion, spike_norm
from tidegate.spec.errors import TidegateError
from tidegate.spec.files import replacing
from tidegate.spec.model import save_model

from ..data.image_sets import ImageSet, load_image_set, name_of
from ..data.split import PARTS
from ..errors import DataError
from .deep_networks import NETWORKS, Training, accuracy, train

STEPS = (16, 32, 64, 128, 256)
PERCENTILES = (100.0, 99.9, 99.0)
_MOST = 2**31 - 1
_CALIBRATION, _FRAMES = 128, 64         # images, and frames of each, on which thresholds are balanced
_CHOICE, _CHOICE_FRAMES = 500, 128      # validation images, and frames, by which a percentile is chosen


@dataclass(frozen=True)
class Converted:
    """A conversion on test images.  ``trained``: accuracy of the trained network; ``dense``: products that it needs
    per image; ``biases``: additions of biases per frame; ``layers``: the features, then each spiking layer, with name,
    neurons and ``fan_out`` (weights read per spike, mean); of a layer also threshold, rate and errors."""

    network: str
    seed: int
    balance: str
    by_channel: bool
    initial: float
    percentile: float
    trained: float
    dense: int
    biases: int
    answers: ImageAnswers
    layers: tuple[dict, ...]

    @staticmethod
    def read(d: dict) -> "Converted":
        told = {name: tuple(value) for name, value in d["answers"].items()}
        return Converted(**{**d, "answers": ImageAnswers(**told), "layers": tuple(d["layers"])})


class Study:
    """One network of one seed."""

    def __init__(self, image_set: ImageSet, name: str, seed: int, out: Path, training: Training,
                 tell: Callable[[str], None]):
        self.image_set, self.name, self.seed, self.out, self.tell = image_set, name, seed, out, tell
        torch.manual_seed(seed)
        self.network = NETWORKS[name](image_set.image, len(image_set.labels))
        kept = out / f"{name}-{seed}.pt"
        if kept.exists():
            try:
                self.network.load_state_dict(torch.load(kept, weights_only=True))
            except (RuntimeError, UnpicklingError, EOFError):
                raise DataError(f"'{kept}' is not a network '{name}' for these images; delete it, or give another "
                                "--out") from None
            self.network.eval()
        else:
            train(self.network, image_set, training, seed, lambda epoch, loss, right: tell(
                f"{name} {seed}: epoch {epoch + 1} of {training.epochs}, loss {loss:.3f}, validation {right:.2%}"))
            with replacing(kept) as part:
                torch.save(self.network.state_dict(), part)

    def _features(self, clips: np.ndarray) -> np.ndarray:
        """(images, features) float32, 0..1, in the order (y, x, channel)."""
        return self.image_set.values[clips].reshape(len(clips), -1).astype(np.float32) / 255

    def convert(self, balance: str, percentile: float, by_channel: bool, initial: float) -> SpikingConversion:
        there = self.image_set.of("train")
        clips = np.random.default_rng(self.seed).choice(there, min(_CALIBRATION, len(there)), replace=False)
        x = self._features(clips)
        return spike_norm(self.network, np.broadcast_to(x[:, None], (len(x), _FRAMES, x.shape[1])),
                          self.image_set.labels, balance=balance, percentile=percentile, image=self.image_set.image,
                          by_channel=by_channel, initial=initial)

    def judged(self, made: SpikingConversion, part: str, images: int, steps: tuple[int, ...]) -> ImageAnswers:
        clips = self.image_set.of(part)[:images]
        return answers(made.model, self._features(clips), self.image_set.targets[clips], steps)

    def chosen(self, balance: str, by_channel: bool, initial: float) -> tuple[float, SpikingConversion]:
        """The percentile that is best on validation images, and the conversion with it."""
        found, count = [], min(_CHOICE, len(self.image_set.of("validation")))
        for percentile in PERCENTILES:
            made = self.convert(balance, percentile, by_channel, initial)
            right = self.judged(made, "validation", _CHOICE, (_CHOICE_FRAMES,)).accuracy[0]
            self.tell(f"{self.name} {self.seed}: {_how(balance, by_channel, initial)}, {percentile:g} %: "
                      f"{right:.2%} of {count} validation images right after {_CHOICE_FRAMES} frames")
            found.append((right, percentile, made))
        _, percentile, made = max(found, key=lambda x: x[:2])
        return percentile, made

    def converted(self, balance: str, by_channel: bool, initial: float, images: int) -> Converted:
        percentile, made = self.chosen(balance, by_channel, initial)
        kind = ("" if by_channel else "-layers") + ("" if initial else "-empty")
        save_model(made.model, self.out / f"{self.name}-{self.seed}-{balance}{kind}.tidegate")
        told = self.judged(made, "test", images, STEPS)
        trained = accuracy(self.network, self.image_set, self.image_set.of("test")[:images])
        self.tell(f"{self.name} {self.seed}: {_how(balance, by_channel, initial)}, {percentile:g} %: trained "
                  f"{trained:.2%}, converted " + ", ".join(f"{x:.2%}" for x in told.accuracy))
        net = made.model.network
        names = [{"name": "features", "neurons": net.features}] + [layer.to_dict() for layer in made.layers]
        return Converted(self.name, self.seed, balance, by_channel, initial, percentile, trained, net.dense_weights,
                         net.replayed_weights, told,
                         tuple(layer | {"fan_out": net.column_weights(s)} for s, layer in enumerate(names)))


def _how(balance: str, by_channel: bool, initial: float) -> str:
    return (f"balanced on {balance}, a threshold per {'channel' if by_channel else 'layer'}, "
            f"{'begins half full' if initial else 'begins empty'}")


def _spread(values: list[float]) -> str:
    return f"{mean(values):.2%}" + (f" ± {stdev(values):.2%}" if len(values) > 1 else "")


def accuracy_table(rows: list[Converted]) -> str:
    """Accuracy by frames, means and standard deviations over the seeds."""
    groups = _grouped(rows)
    wide = max(len(how) for how, _ in groups)
    lines = [f"{'':<{wide}}{'trained':>18}" + "".join(f"{f'T = {t}':>18}" for t in STEPS)]
    for how, same in groups:
        lines.append(f"{how:<{wide}}{_spread([r.trained for r in same]):>18}" + "".join(
            f"{_spread([r.answers.at(t) for r in same]):>18}" for t in STEPS))
    return "\n".join(lines)


def layers_table(rows: list[Converted]) -> str:
    """Sparsity by depth: means over the seeds of these rows, which are of one kind."""
    lines = [f"{'layer':<18}{'neurons':>9}{'spikes per neuron and frame':>29}{'additions per frame':>21}"
             f"{'products, trained':>19}{'error of int8':>15}"]
    frames = rows[0].answers.steps[-1]
    for s, layer in enumerate(rows[0].layers):
        rate = mean(r.answers.rates[s] for r in rows)
        dense = layer["neurons"] * layer["fan_out"]
        lines.append(f"{layer['name']:<18}{layer['neurons']:>9,}{rate:>29.4f}{rate * dense:>21,.0f}{dense:>19,.0f}"
                     + (f"{mean(r.layers[s]['weight_error'] for r in rows):>15.1%}" if s else ""))
    lines.append(f"{'biases':<18}{'':>38}{rows[0].biases:>21,}")
    work = mean(r.answers.operations[-1] for r in rows)
    lines.append(f"additions per frame {work / frames:,.0f}, {rows[0].dense * frames / work:.1f} times fewer than the "
                 f"{rows[0].dense:,} products of the trained network")
    for t, total in zip(STEPS, np.mean([r.answers.operations for r in rows], 0), strict=True):
        lines.append(f"{t} frames: {total / 1e6:.1f} million additions per image, {total / rows[0].dense:.1f} per "
                     "product of the trained network")
    return "\n".join(lines)


def _grouped(rows: list[Converted]) -> list[tuple[str, list[Converted]]]:
    def key(row: Converted) -> str:
        return _how(row.balance, row.by_channel, row.initial)

    return [(how, list(same)) for how, same in groupby(sorted(rows, key=key), key)]


def _at_least(least: int) -> Callable[[str], int]:
    """A type of argparse: whole numbers from ``least`` to those that a seed may have."""
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= _MOST:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of {least} or more")
        return int(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidegate.train.study.deep", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder of the images, such as data/fashion-mnist")
    parser.add_argument("--network", choices=NETWORKS, default="vgg", help="which one is trained (default: vgg)")
    parser.add_argument("--seeds", type=_at_least(0), nargs="+", default=[0, 1, 2],
                        help="of first weights, order of images and calibration (default: 0 1 2)")
    parser.add_argument("--out", type=Path, default=Path("out/deep"),
                        help="folder for networks, models and figures (default: out/deep)")
    parser.add_argument("--epochs", type=_at_least(1), default=Training().epochs,
                        help=f"for which a network is trained (default: {Training().epochs})")
    parser.add_argument("--images", type=_at_least(1), default=10000,
                        help="test images that are judged (default: 10000)")
    parser.add_argument("--paper", action="store_true", help="also thresholds per layer, and neurons that begin empty, "
                        "as in the papers")
    return parser


def main() -> int:
    parser = _parser()
    wanted = parser.parse_args()
    rows, say = list[Converted](), partial(print, flush=True)
    figures = wanted.out / f"{wanted.network}{'-paper' * wanted.paper}.json"
    try:
        wanted.out.mkdir(parents=True, exist_ok=True)
        image_set = load_image_set(name_of(wanted.directory), wanted.directory)
        if short := [part for part in PARTS if not len(image_set.of(part))]:
            raise DataError(f"'{wanted.directory}' has no image in the part {short[0]}; give a set with more images")
        training = Training(epochs=wanted.epochs, flip=image_set.name != "mnist")
        for seed in wanted.seeds:
            study = Study(image_set, wanted.network, seed, wanted.out, training, say)
            for by_channel, initial in [(True, 0.5)] + [(True, 0.0), (False, 0.5), (False, 0.0)] * wanted.paper:
                rows += [study.converted(balance, by_channel, initial, wanted.images) for balance in BALANCES]
            with replacing(figures) as part:
                part.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    except (TidegateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{wanted.network} on {image_set.name}, seeds {', '.join(map(str, wanted.seeds))}, "
          f"{min(wanted.images, len(image_set.of('test')))} test images\n{accuracy_table(rows)}")
    for balance in BALANCES:
        kind = [r for r in rows if r.balance == balance and r.by_channel and r.initial]
        print(f"\nbalanced on {balance}, a threshold per channel, mean of {len(kind)} seeds, {STEPS[-1]} frames")
        print(layers_table(kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())
