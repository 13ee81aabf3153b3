"""Spiking networks trained on spikes, beside the same network trained on rates and converted.

    python -m tidegate.train.study.converted DATA --recipe mnist-events --out OUT

For each seed, the recipe trains a network of integrate-and-fire neurons on spikes (``mnist-lif`` and ``mnist-events``
say how), and as many epochs train a ReLU network of the same size on each sequence's mean frame, of which
``golden.spike_norm`` makes integrate-and-fire neurons.  Both hear the same frames.  How thresholds are balanced is
chosen on the validation part, and the test part is reported.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from torch import nn

from tidegate import zoo
from tidegate.golden.figures import figures
from tidegate.golden.judge import Golden
from tidegate.golden.spike_norm import BALANCES, spike_norm
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model, read_model

from ..data.sequences import Sequences
from ..errors import DataError
from ..fit.training_run import run
from ..recipe import Recipe
from ..tasks.registry import find_task

PERCENTILES = (100.0, 99.9, 99.0)
_CALIBRATION, _BATCH, _DROPOUT = 256, 250, 0.3


@dataclass(frozen=True)
class Compared:
    """A network on a part: ``error``: share of wrong answers, None: has not been judged; ``operations``: additions per
    image; ``how``: in words."""

    how: str
    seed: int
    error: float
    operations: float | None


def rate_network(recipe: Recipe, data: Sequences) -> nn.Sequential:
    """A ReLU network with the recipe's neurons, trained on the mean frame of each sequence by the recipe's epochs,
    batches and seed."""
    torch.manual_seed(recipe.seed)
    sizes = [data.width, *recipe.gru]
    hidden = [part for inputs, size in itertools.pairwise(sizes)
              for part in (nn.Linear(inputs, size), nn.ReLU(), nn.Dropout(_DROPOUT))]
    network = nn.Sequential(*hidden, nn.Linear(sizes[-1], len(data.labels)))
    clips = data.of("train")
    optimiser = torch.optim.AdamW(network.parameters())
    batches = -(-len(clips) // recipe.batch) * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=batches + 1)
    rates, targets = (torch.from_numpy(x) for x in (_rates(data, clips), data.targets[clips]))
    for _ in range(recipe.epochs):
        network.train()
        for batch in torch.randperm(len(clips)).split(recipe.batch):
            loss = nn.functional.cross_entropy(network(rates[batch]), targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _rates(data: Sequences, clips: np.ndarray) -> np.ndarray:
    """Mean frames (B, features) float32."""
    return np.concatenate([data.code(data.values[batch]).mean(1) for batch in _batches(clips)])


@torch.no_grad()
def rate_error(network: nn.Module, data: Sequences, part: str) -> float:
    """Share of wrong answers of a network that hears rates."""
    clips = data.of(part)
    return float((network(torch.from_numpy(_rates(data, clips))).argmax(1).numpy() != data.targets[clips]).mean())


def spike_error(model: Model, data: Sequences, part: str) -> tuple[float, float]:
    """(share of wrong answers, additions per image) of a spiking model, whose answer is the mean of its logits."""
    golden, wrong, operations = Golden(model), 0, 0
    for batch in _batches(data.of(part)):
        frames = model.quantise(data.code(data.values[batch])).swapaxes(0, 1)
        trace = golden.run(frames)
        wrong += int((trace.logits.sum(0, dtype=np.int64).argmax(1) != data.targets[batch]).sum())
        operations += figures(model.network, trace.events).weights
    clips = len(data.of(part))
    return wrong / clips, operations / clips


def _batches(clips: np.ndarray) -> list[np.ndarray]:
    return np.split(clips, range(_BATCH, len(clips), _BATCH))


def compared_networks(recipe: Recipe, directory: Path, out: Path, tell: Callable[[str], None]) -> list[Compared]:
    """Rows of one seed, on the test part."""
    data = find_task(recipe.task).load(recipe, directory)
    if not isinstance(data, Sequences):
        raise DataError(f"the recipe '{recipe.name}' does not hear images; choose mnist-events or mnist-lif")
    file = out / f"{recipe.name}-{recipe.seed}.tidegate"
    if not file.exists():
        run(directory, recipe, file, progress=False)
    trained = spike_error(read_model(file), data, "test")
    rows = [Compared("trained on spikes", recipe.seed, *trained)]
    tell(f"seed {recipe.seed}: trained on spikes {rows[-1].error:.2%} wrong")
    network = rate_network(recipe, data)
    rows.append(Compared("trained on rates, as it is", recipe.seed, rate_error(network, data, "test"), None))
    train = data.of("train")
    calibration = data.code(data.values[np.random.default_rng(recipe.seed).choice(train, _CALIBRATION, replace=False)])
    for balance in BALANCES:
        made = [spike_norm(network, calibration, data.labels, balance=balance, percentile=p, by_channel=False,
                           initial=0.0).model
                for p in PERCENTILES]
        best = min(range(len(made)), key=lambda k: spike_error(made[k], data, "validation")[0])
        rows.append(Compared(f"converted, balanced on {balance}", recipe.seed, *spike_error(made[best], data, "test")))
        tell(f"seed {recipe.seed}: converted, balanced on {balance} ({PERCENTILES[best]:g} % of the largest sum) "
             f"{rows[-1].error:.2%} wrong")
    return rows


def table(rows: list[Compared]) -> str:
    """Mean and standard deviation over the seeds of each kind of network."""
    lines = [f"{'network':<36}{'wrong answers':>18}{'additions an image':>22}"]
    for how in dict.fromkeys(row.how for row in rows):
        errors = [row.error for row in rows if row.how == how]
        spread = f" ± {stdev(errors):.2%}" if len(errors) > 1 else ""
        operations = [row.operations for row in rows if row.how == how and row.operations is not None]
        lines.append(f"{how:<36}{f'{mean(errors):.2%}{spread}':>18}"
                     f"{f'{mean(operations):,.0f}' if operations else '-':>22}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.train.study.converted", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder of the recipe's data, such as data/mnist")
    parser.add_argument("--recipe", default="mnist-events", help="name or file of a spiking recipe for images")
    parser.add_argument("--out", type=Path, default=Path("out/converted"), help="folder for the models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    wanted = parser.parse_args()
    rows, say = list[Compared](), partial(print, flush=True)
    try:
        wanted.out.mkdir(parents=True, exist_ok=True)
        recipe = Recipe.read(wanted.recipe if wanted.recipe.endswith(".json") else zoo.recipe_path(wanted.recipe))
        recipe = replace(recipe, epochs=wanted.epochs or recipe.epochs)
        for seed in wanted.seeds:
            rows += compared_networks(replace(recipe, seed=seed), wanted.directory, wanted.out, say)
    except (TidegateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{recipe.name}, {recipe.epochs} epochs, seeds {', '.join(map(str, wanted.seeds))}, test part")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
