"""The verb ``convert``: a trained network of images as a spiking model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tidegate.spec.errors import ModelError, TidegateError

from .console import JsonOption, err, hint_at_extras, names_in, out, print_json, progress

if TYPE_CHECKING:
    import numpy as np

_STEPS = (16, 32, 64, 128, 256)     # after which accuracy is told
_IMAGES = "x (images, channels, height, width) or (images, features), uint8 or 0..1"


def convert_network(
    file: Annotated[Path, typer.Argument(
        show_default=False, help="Trained network: .pt2 of torch.export.")],
    calibrate: Annotated[Path, typer.Option(
        "--calibrate", "-c", show_default=False, help="Training images on which thresholds are balanced: .npz with x "
        "(images, channels, height, width), uint8 or 0..1; a few hundred will do.")],
    judge: Annotated[Path | None, typer.Option(
        "--judge", "-j", show_default=False, help="Other images: .npz with x, and y, the right classes; tells the "
        "accuracy after 16, 32, 64, 128 and 256 frames.")] = None,
    out_file: Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")] = Path("model.tidegate"),
    steps: Annotated[int, typer.Option(
        "--steps", "-t", min=1, max=10000, help="Frames for which an image is held while thresholds are "
        "balanced.")] = 64,
    balance: Annotated[str, typer.Option(
        "--balance", "-b", help="On what thresholds are balanced: activations, for answers after few frames, or "
        "spikes (Spike-Norm), for few spikes per frame.")] = "activations",
    percentile: Annotated[float, typer.Option(
        "--percentile", "-p", help="Of the weighted sums or activations above 0, to balance on; 100: the "
        "largest.")] = 99.9,
    by_layer: Annotated[bool, typer.Option(
        "--by-layer", help="One threshold per layer, in place of one per channel.")] = False,
    initial: Annotated[float, typer.Option(
        "--initial", help="Potential with which neurons begin, as a share of the threshold, 0 to below 1.")] = 0.5,
    labels: Annotated[str | None, typer.Option(
        "--labels", show_default=False, help="Names of the classes, such as yes,no (default: 0,1,...).")] = None,
    json: JsonOption = False,
) -> None:
    """Turn a trained network of images into a spiking model, and report what that costs.

    The network has convolutions, batch normalisation, ReLUs, average pooling, linear layers and junctions of two
    branches.  An image is then held for some frames: a pixel spikes at the rate that it is bright.
    """
    if not out_file.parent.is_dir():
        raise TidegateError(f"no folder '{out_file.parent}' to write the model to; make it")
    _check_program(file)
    with hint_at_extras("train"):
        from dataclasses import replace

        import numpy as np

        from tidegate.golden.module_graph import input_shape
        from tidegate.golden.spike_answers import answers
        from tidegate.golden.spike_norm import spike_norm
        from tidegate.importers.program import read_program
        from tidegate.spec.model import save_model

        _tell(f"reading {file}")
        program = read_program(file)
        shape = input_shape(program)
        if len(shape) not in (1, 3):
            raise ModelError(f"the network in '{file}' hears a tensor of {1 + len(shape)} dimensions; export one that "
                             "hears (images, channels, height, width) or (images, features)")
        x, _ = _images(calibrate, shape)
        judged, right = (None, None) if judge is None else _images(judge, shape)
        if judged is not None and right is None:
            raise ModelError(f"'{judge}' does not say the right classes; save an .npz with x and y")
        _tell(f"balancing thresholds on {len(x)} images, {steps} frames each")
        held = np.broadcast_to(x[:, None], (len(x), steps, x.shape[1]))
        with progress("balancing", visible=not json) as step:
            made = spike_norm(program, held, names_in(labels), balance=balance, percentile=percentile,
                              image=(shape[0], shape[1], shape[2]) if len(shape) == 3 else None,
                              by_channel=not by_layer, initial=initial, progress=step)
        told, trained, model = None, None, made.model
        if judged is not None and right is not None:
            if right.max() >= len(made.model.labels):
                raise ModelError(f"'{judge}' has class {right.max()}, the network tells {len(made.model.labels)}; "
                                 "classes are numbered from 0")
            _tell(f"judging {len(judged)} images")
            with progress("judging", visible=not json) as step:
                told = answers(made.model, judged, right, _STEPS, step)
            trained = float((made.float_logits(judged).argmax(1) == right).mean())
            said = {"images": len(judged), "trained_accuracy": trained, "answers": told.to_dict()}
            model = replace(model, card=model.card | {"conversion": model.card["conversion"] | {"judged": said}})
    save_model(model, out_file)
    if json:
        return print_json({
            "file": str(out_file), "digest": model.digest, "network": model.network.to_dict(),
            **made.model.card["conversion"], "rates": made.rates, "trained_accuracy": trained,
            "answers": told and told.to_dict()})
    table = Table("layer", "neurons", "threshold", "spikes per neuron and frame", "error of rates", "error of weights")
    table.add_row("features", str(model.network.features), "1", f"{made.rates[0]:.4f}", "", "")
    for layer in made.layers:
        table.add_row(layer.name, str(layer.neurons), f"{layer.threshold:.3g}", f"{layer.rate:.4f}",
                      f"{layer.error:.1%}", f"{layer.weight_error:.1%}")
    out.print(table)
    if told is not None:
        out.print(f"trained network: {trained:.2%} right")
        for frames, accuracy, operations in zip(told.steps, told.accuracy, told.operations, strict=True):
            out.print(f"after {frames} frames: {accuracy:.2%} right, {operations / 1e6:.2f} million additions an image")
    out.print(f"wrote {out_file}: {model.network.shape}, {model.network.features} features, "
              f"{model.network.classes} classes", soft_wrap=True)


def _tell(stage: str) -> None:
    """One line on standard error, where a terminal has bars instead."""
    if not err.is_terminal:
        err.print(stage, soft_wrap=True)


def _check_program(file: Path) -> None:
    """ModelError if the file cannot be a program of ``torch.export``."""
    if file.is_dir():
        raise ModelError(f"'{file}' is a folder; give the .pt2 file of a trained network")
    if not file.is_file():
        raise ModelError(f"no network file '{file}'; check the name")
    if file.suffix.lower() != ".pt2":
        raise ModelError(f"'{file.name}' is no program of torch.export; save one from PyTorch with torch.export.save("
                         "torch.export.export(module.eval(), (x,)), 'net.pt2')")


def _images(path: Path, shape: tuple[int, ...]) -> tuple["np.ndarray", "np.ndarray | None"]:
    """(x (images, features) float32, 0..1, in the order (y, x, channel), y (images,) or None) of a file."""
    from tidegate.host.arrays import read_arrays
    from tidegate.host.images import image_features

    held = read_arrays(path)
    x = held.get("x", held.get(""))
    if x is None:
        raise ModelError(f"'{path}' holds {', '.join(held) or 'nothing'}, and no x; save an .npz with {_IMAGES}")
    features = image_features(x, shape, path)
    y = held.get("y")
    if y is not None and (y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0):
        raise ModelError(f"y of '{path}' is {y.dtype} {y.shape}; give the number of the class of each of the {len(x)} "
                         "images")
    return features, y
