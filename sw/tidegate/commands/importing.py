"""The verb ``import``: a network that was trained elsewhere, as a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.spec.errors import ModelError, TidegateError

from .console import JsonOption, hint_at_extras, out, print_json

if TYPE_CHECKING:
    import numpy as np

    from tidegate.golden.chain import FloatChain
    from tidegate.golden.conversion import ConversionReport
    from tidegate.spec.model import Model

_ARRAYS = "x (sequences, frames, features)"
_WORSE = 0.005      # loss of accuracy by fine-tuning that is worth a warning


def import_network(
    file: Annotated[Path, typer.Argument(
        show_default=False, help="Trained network: .onnx; .safetensors, .pt or .pth with a state dict; .pt2 of "
        "torch.export; .nir with a spiking network.")],
    calibrate: Annotated[Path | None, typer.Option(
        "--calibrate", "-c", show_default=False, help="Sequences such as the model will hear: .npz with x (sequences, "
        "frames, features), and if you like y, the right classes; or .npy with x alone.")] = None,
    out_file: Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")] = Path("model.tidegate"),
    fetch_reduction: Annotated[float | None, typer.Option(
        "--fetch-reduction", show_default=False, help="Choose Θ so that so many times fewer weights are read, such as "
        "8.")] = None,
    max_loss: Annotated[float | None, typer.Option(
        "--max-loss", show_default=False, help="Choose the largest Θ that lose at most so many percentage points, such "
        "as 0.5.")] = None,
    theta: Annotated[str | None, typer.Option(
        "--theta", show_default=False, help="Θ of the features and of each layer in 1/256, such as 64,16; "
        "one number is Θ of all.")] = None,
    labels: Annotated[str | None, typer.Option(
        "--labels", show_default=False, help="Names of the classes, such as yes,no (default: 0,1,...).")] = None,
    readout: Annotated[str | None, typer.Option(
        "--readout", show_default=False, help="Where an answer is read: last, mean or frames (default: as the network "
        "does, if the file says it).")] = None,
    epochs: Annotated[int, typer.Option(
        "--epochs", min=0, help="Fine-tune for so many epochs on the calibration data, which then need y.")] = 0,
    clip: Annotated[bool, typer.Option(
        "--clip", help="Clip a few weights that are too large, in place of making all coarser.")] = False,
    json: JsonOption = False,
) -> None:
    """Turn a trained GRU or LSTM into a model, choose its thresholds, and report what that costs.

    A spiking network keeps its own thresholds; the report says how many spikes differ.
    """
    from .console import names_in

    thresholds = _whole_numbers(theta)
    if epochs and fetch_reduction is None:
        raise TidegateError("fine-tuning needs to know how far to go; give --fetch-reduction, such as 8")
    if not out_file.parent.is_dir():
        raise TidegateError(f"no folder '{out_file.parent}' to write the model to; make it")
    with hint_at_extras():
        from tidegate.golden.convert import convert
        from tidegate.importers.registry import read_network

        chain = read_network(file)
        x, y = (None, None) if calibrate is None else read_sequences(calibrate)
        if epochs and y is None:
            raise TidegateError("fine-tuning needs the right classes; give --calibrate an .npz with x and y")
        if thresholds is not None and len(thresholds) == 1:
            thresholds *= len(chain.layers) + 1
        made = convert(chain, thresholds=thresholds, labels=names_in(labels), calibration=x, targets=y,
                       fetch_reduction=fetch_reduction, max_loss=max_loss, readout=readout, clip=clip,
                       source=file.name, warn=False)
        model, report, before = made.model, made.report, None
        if epochs:
            assert report is not None
            model, report, before = *_finetuned(made.model, report, chain, x, y, epochs, fetch_reduction), report
    from tidegate.spec.model import save_model

    save_model(model, out_file)
    if json:
        return print_json({"file": str(out_file), "digest": model.digest, "thresholds": list(model.network.thresholds),
                           "network": model.network.to_dict(), "report": report and report.to_dict(),
                           "before_finetuning": before and before.to_dict(),
                           "spikes": made.spikes and made.spikes.to_dict(),
                           "warnings": list(made.warnings), "finetuned": model.card.get("finetuned")})
    if made.spikes is not None:
        out.print(made.spikes.text(), soft_wrap=True)
    if report is None:
        for line in made.warnings:
            out.print(f"warning: {line}", soft_wrap=True)
    if report is None and made.spikes is None:
        theta = "as given" if thresholds else "of the network" if chain.spiking else "is 0"
        out.print(f"no calibration data: Θ {theta}" + ", features are taken as they "
                  "are, and nothing was compared with float; give --calibrate", soft_wrap=True)
    if report is not None:
        out.print(report.text(), soft_wrap=True)
    if before is not None and report is not None:
        out.print(_what_tuning_did(before, report, model.card["finetuned"]), soft_wrap=True)
    out.print(f"wrote {out_file}: {model.network.shape}, {model.network.features} features, {model.network.classes} "
              "classes", soft_wrap=True)


def _finetuned(model: "Model", before: "ConversionReport", chain: "FloatChain", x: Any, y: Any, epochs: int,
               fetch_reduction: float | None) -> "tuple[Model, ConversionReport]":
    """The model after fine-tuning, with the report of it as it is then, also in its card."""
    from dataclasses import replace

    from tidegate.golden.convert import report_of_tuned
    from tidegate.train.fit.finetune import finetune

    tuned = finetune(model, x, y, epochs=epochs, fetch_reduction=fetch_reduction, readout=before.readout)
    report = report_of_tuned(tuned, before, chain, x, y)
    return replace(tuned, card=tuned.card | {"conversion": report.to_dict()}), report


def _what_tuning_did(before: "ConversionReport", report: "ConversionReport", said: dict) -> str:
    """Lines about fine-tuning: the model before it, which epoch was kept, and by what."""
    from tidegate.host.figures import ratio_text

    was, now = before.point, report.point
    lines = [f"before fine-tuning: fetch reduction {ratio_text(was.fetch_reduction, 2)}, the same answer as float "
             f"{was.agreement:.1%}, accuracy {was.accuracy:.1%}; the report above is that of the model after it"]
    if said["held_out"]:
        kept = f"epoch {said['best']} of {said['epochs']}" if said["best"] else "no epoch, but only Θ,"
        lines.append(f"{kept} was kept, by {said['held_out']} of {said['sequences']} sequences that were held out: "
                     f"accuracy on these {said['held_out_accuracy']:.1%}")
    else:
        lines.append(f"no sequence was held out, so the accuracy after it is that on the {said['sequences']} that were "
                     "learned; judge the model on others")
    if not said["best"]:
        lines.append("warning: every epoch was worse on the sequences held out, so the weights are as they were; give "
                     "more sequences, or ask for a smaller fetch reduction")
    elif now.accuracy is not None and was.accuracy is not None and now.accuracy < was.accuracy - _WORSE:
        lines.append(f"warning: the accuracy was {was.accuracy:.1%} before, so fine-tuning made it worse: give more "
                     "epochs or more sequences, or leave --epochs out")
    return "\n".join(lines)


def _whole_numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise TidegateError(f"--theta takes whole numbers with commas between, such as 64,16, not '{text}'") from None


def read_sequences(path: Path) -> tuple[Any, "np.ndarray | None"]:
    """(x, y or None) of a file of calibration data; ``x`` as ``from_torch`` takes it.  TidegateError if it has none."""
    from tidegate.host.arrays import read_arrays

    if not path.is_file():
        raise ModelError(f"no calibration data '{path}'; save an .npz with {_ARRAYS}")
    held = read_arrays(path)
    if "" in held:                      # of an .npy file
        return held[""], None
    several = sorted((name for name in held if name.startswith("x_") and name[2:].isdigit()), key=lambda n: int(n[2:]))
    x = held["x"] if "x" in held else [held[name] for name in several]
    if "x" not in held and not several:
        raise ModelError(f"'{path}' holds {', '.join(held) or 'nothing'}, and no x; save an .npz with {_ARRAYS}")
    return x, held.get("y")
