"""What an import costs: ``python -m tidegate.train.study.imported DATA/fsdd/recordings``.

A GRU is trained in plain PyTorch on spoken digits, without knowing of Θ.  Then it is converted for a fetch reduction,
and fine-tuned for a larger one.  Takes 0-4 of each speaker and digit are the test part and 5-12 the validation part;
nothing is trained, calibrated or chosen on the part that is judged.
"""

import argparse
import re

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from tidegate.golden import Golden
from tidegate.golden.calibration import normalisation
from tidegate.golden.convert import convert
from tidegate.golden.figures import figures
from tidegate.spec.model import Model
from tidegate.train.data.features import load_features
from tidegate.train.data.folders import scan
from tidegate.train.fit.finetune import finetune
from tidegate.train.recipe import Recipe
from tidegate.zoo import recipe_path

PARTS = {"test": range(0, 5), "validation": range(5, 13)}
_EPOCHS, _BATCH, _RATE, _NOISE, _SHIFT, _HIDDEN = 40, 64, 4e-3, 0.3, 1.0, 128

Clips = tuple[list[np.ndarray], np.ndarray]


def parts_of(folder: str) -> dict[str, Clips]:
    """Part → features (frames, 20) of its clips and their digits; the rest is the part "train"."""
    data = scan(folder)
    made = load_features(data, Recipe.read(recipe_path("digits")).frontend)
    takes = np.array([int(re.findall(r"_(\d+)\.wav", clip.path)[0]) for clip in data.clips])
    assert len(takes) == len(made.targets)
    parts = {name: np.isin(takes, list(held)) for name, held in PARTS.items()}
    parts["train"] = ~(parts["test"] | parts["validation"])
    return {name: ([made.frames(i).astype(np.float32) for i in map(int, np.flatnonzero(which))], made.targets[which])
            for name, which in parts.items()}


def trained(clips: Clips, mean: np.ndarray, scale: np.ndarray, seed: int) -> nn.ModuleList:
    """A GRU and its classifier, trained in plain PyTorch on the last frame of each clip; the features are shifted, as
    by another loudness, and shaken."""
    torch.manual_seed(seed)
    net = nn.ModuleList([nn.GRU(len(mean), _HIDDEN), nn.Linear(_HIDDEN, int(clips[1].max()) + 1)])
    frames = [torch.from_numpy((clip - mean) * scale) for clip in clips[0]]
    steps = _EPOCHS * -(-len(frames) // _BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps + 1)
    for _ in range(_EPOCHS):
        for part in torch.randperm(len(frames)).split(_BATCH):
            x = pad_sequence([frames[i] for i in part])
            x = x + _SHIFT * torch.randn(1, len(part), 1) + _NOISE * torch.randn(x.shape)
            ends = torch.tensor([len(frames[i]) for i in part]) - 1
            logits = net[1](net[0](x)[0][ends, torch.arange(len(part))])
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(clips[1])[part])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            schedule.step()
    return net


@torch.no_grad()
def right_of_float(net: nn.ModuleList, clips: Clips, mean: np.ndarray, scale: np.ndarray) -> float:
    """Share of the clips that the float network answers rightly."""
    answers = [net[1](net[0](torch.from_numpy((clip - mean) * scale)[:, None])[0][-1, 0]).argmax() for clip in clips[0]]
    return float((np.array(answers) == clips[1]).mean())


def right_of(model: Model, clips: Clips) -> tuple[float, float]:
    """Share of the clips that the golden model answers rightly, and its fetch reduction."""
    lengths = np.array([len(clip) for clip in clips[0]])
    frames = np.zeros((lengths.max(), len(lengths), model.network.features), np.int16)
    for i, clip in enumerate(clips[0]):
        frames[: len(clip), i] = model.quantise(clip)
    trace = Golden(model).run(frames)
    answers = trace.logits[lengths - 1, np.arange(len(lengths))].argmax(-1)
    return float((answers == clips[1]).mean()), figures(model.network, trace.events, lengths).fetch_reduction or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tidegate.train.study.imported",
                                     description="Measure what the import of a GRU costs.")
    parser.add_argument("folder", help="recordings of the Free Spoken Digit Dataset")
    parser.add_argument("--part", choices=PARTS, default="test", help="default test")
    parser.add_argument("--seeds", type=int, default=3, help="networks, default 3")
    parser.add_argument("--converted", type=float, default=5.0, help="fetch reduction without fine-tuning, default 5")
    parser.add_argument("--tuned", type=float, default=10.0, help="fetch reduction with fine-tuning, default 10")
    parser.add_argument("--epochs", type=int, default=5, help="of fine-tuning, default 5")
    wanted = parser.parse_args()
    torch.set_flush_denormal(True)
    parts = parts_of(wanted.folder)
    judged, rows = parts[wanted.part], []
    x, y = parts["train"]
    mean, scale = normalisation(np.concatenate(x))
    print(f"{len(x)} clips train, {len(judged[0])} clips of the {wanted.part} part are judged")
    for seed in range(wanted.seeds):
        net = trained(parts["train"], mean, scale, seed)
        made = convert(net, calibration=x, targets=y, mean=mean, scale=scale, fetch_reduction=wanted.converted,
                       readout="last", warn=False).model
        tuned = finetune(made, x, y, wanted.epochs, wanted.tuned, readout="last", seed=seed)
        found = [(right_of_float(net, judged, mean, scale), 1.0), *(right_of(model, judged) for model in (made, tuned))]
        rows.append(found)
        print(f"seed {seed}: " + ", ".join(f"{100 * right:.2f} % at {reduction:.2f}x" for right, reduction in found),
              flush=True)
    shares = 100 * np.array(rows)[..., 0]
    names = ("float", f"converted, {wanted.converted:g}x", f"fine-tuned, {wanted.tuned:g}x")
    for name, column in zip(names, shares.T, strict=True):
        lost = shares[:, 0] - column
        print(f"{name:>20}: {column.mean():.2f} ± {column.std(ddof=min(1, len(column) - 1)):.2f} %, "
              f"lost {lost.mean():+.2f} ({lost.min():+.2f} to {lost.max():+.2f})")


if __name__ == "__main__":
    main()
