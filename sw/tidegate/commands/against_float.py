"""``tidegate verify --against FILE``: the golden model beside the float network that it was made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tidegate.spec.errors import TidegateError

from .console import hint_at_extras, out, print_json

if TYPE_CHECKING:
    from tidegate.spec.model import Model


def against_float(model: "Model", network: str, data: Path | None, frames: int | None, bound: float | None,
                  readout: str | None, normalised: bool, json: bool) -> None:
    """Print the comparison; exits with 1 if a value is beyond its bound."""
    with hint_at_extras():
        from tidegate.golden.float_comparison import compare_float
        from tidegate.importers.registry import read_network, suffixes

        file = Path(network)
        if not file.suffix and not file.exists():
            raise TidegateError(f"golden cannot be compared with '{network}'; choose rtl, netlist, or the file of a "
                                f"float network, which ends in {', '.join(suffixes())}")
        chain = read_network(file)
        sequences, targets = _features(model, data, frames)
        found = compare_float(model, chain, sequences, targets=targets, bound=bound, readout=readout,
                              normalised=normalised)
    if json:
        print_json(found.to_dict())
    else:
        out.print(found.text(), soft_wrap=True)
    if not found.within:
        raise typer.Exit(1)


def _features(model: "Model", data: Path | None, frames: int | None) -> tuple[Any, Any]:
    """(sequences of features, the right classes or None), of arrays or recordings; ``frames``: at most so many."""
    from tidegate.host.arrays import array_files, features_of_integers, holds_arrays, limited

    from .importing import read_sequences

    if data is None:
        raise TidegateError("a float network is compared on features that it hears; give --data, such as an .npz with "
                            "x (sequences, frames, features)")
    if not data.exists():
        raise TidegateError(f"no file '{data}'; give an .npy or .npz file of features, or a folder of these")
    targets = None
    if model.frontend and not holds_arrays(data):
        sequences: Any = _recordings(model, data)
    elif data.is_dir():
        read = [(file, part) for file in array_files(data) for part in _parts(read_sequences(file)[0])]
        sequences = [features_of_integers(model, part, file) for file, part in read]
        if not sequences:
            raise TidegateError(f"no frames in '{data}'; give a folder of .npy and .npz files")
    else:
        sequences, targets = read_sequences(data)
        sequences = ([features_of_integers(model, part, data) for part in sequences] if isinstance(sequences, list) else
                     features_of_integers(model, sequences, data))
    if frames is not None:
        sequences = limited(_parts(sequences), frames)
        targets = None if targets is None else targets[: len(sequences)]
        if targets is not None and targets.ndim > 1:
            targets = [each[: len(part)] for each, part in zip(targets, sequences, strict=True)]
    return sequences, targets


def _parts(sequences: Any) -> list:
    """Sequences one by one."""
    return [sequences] if getattr(sequences, "ndim", 3) == 2 else list(sequences)


def _recordings(model: "Model", data: Path) -> list:
    from tidegate.host.audio import FORMATS, SUFFIXES
    from tidegate.host.features import features_of

    files = sorted(p for p in data.rglob("*") if p.suffix.lower() in SUFFIXES) if data.is_dir() else [data]
    if not files:
        raise TidegateError(f"no recordings in '{data}'; give a folder of {FORMATS} files")
    return [features_of(model, file) for file in files]
