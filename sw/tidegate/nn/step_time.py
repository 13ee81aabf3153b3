"""How long a training step takes with a delta layer, and with PyTorch's: ``python -m tidegate.nn.step_time``.

A step is forward and backward of the layer and a classifier on one batch of random frames.  Steps of all layers take
turns, so that other work on the machine slows all of them; the ratio is that of the medians.
"""

import argparse
import time
from statistics import median

import torch
from torch import nn

from .layers import DeltaGRU, DeltaLSTM


def step_times(modules: list[nn.Module], x: torch.Tensor, rounds: int) -> list[float]:
    """Median seconds of a training step of each module on frames x (T, B, features)."""
    heads = [nn.Linear(module.hidden_size, 10) for module in modules]       # pyright: ignore[reportArgumentType]
    times: list[list[float]] = [[] for _ in modules]
    for k in range(rounds + 2):
        for module, head, seconds in zip(modules, heads, times, strict=True):
            began = time.perf_counter()
            head(module(x)[0][-1]).logsumexp(-1).mean().backward()
            for parameter in module.parameters():
                parameter.grad = None
            if k >= 2:                                                      # the first ones allocate memory
                seconds.append(time.perf_counter() - began)
    return [median(seconds) for seconds in times]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tidegate.nn.step_time", description="Measure training steps.")
    sizes = {"features": 20, "hidden": 128, "layers": 1, "frames": 60, "batch": 64, "rounds": 20}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    wanted = parser.parse_args()
    torch.manual_seed(0)
    torch.set_flush_denormal(True)          # gradients too small for a float make products much slower
    x = torch.randn(wanted.frames, wanted.batch, wanted.features)
    print(f"{wanted.layers} x {wanted.hidden} neurons, {wanted.features} features, {wanted.frames} frames, batch "
          f"{wanted.batch}, {torch.get_num_threads()} threads")
    for plain, delta in ((nn.GRU, DeltaGRU), (nn.LSTM, DeltaLSTM)):
        shape = (wanted.features, wanted.hidden, wanted.layers)
        modules = [plain(*shape), delta(*shape), delta(*shape, theta=0.25), delta(*shape, fetch_reduction=8)]
        first, *others = step_times(modules, x, wanted.rounds)
        print(f"  torch.nn.{plain.__name__:<27}{1000 * first:8.1f} ms")
        for options, seconds in zip(("", "theta=0.25", "fetch_reduction=8"), others, strict=True):
            print(f"  {f'{delta.__name__}({options})':<36}{1000 * seconds:8.1f} ms {seconds / first:6.2f}x")


if __name__ == "__main__":
    main()
