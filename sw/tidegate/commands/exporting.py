"""The verb ``export``: a model as a file of another program."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate.spec.errors import TidegateError

from .console import JsonOption, hint_at_extras, out, print_json
from .models import ModelArgument

_SUFFIX = ".nir"


def export_model(
    model: ModelArgument,
    out_file: Annotated[Path, typer.Option(
        "--out", "-o", help="File to write: .nir, the intermediate representation of spiking networks.")],
    json: JsonOption = False,
) -> None:
    """Write a model of integrate-and-fire layers as a NIR graph, which snnTorch and others read."""
    from tidegate import load_model

    if out_file.suffix.lower() != _SUFFIX:
        raise TidegateError(f"models are exported to files that end in {_SUFFIX}, not to '{out_file.name}'; give --out "
                            "such a name")
    if not out_file.parent.is_dir():
        raise TidegateError(f"no folder '{out_file.parent}' to write the file to; make it")
    loaded = load_model(model)
    with hint_at_extras():
        from tidegate.exporters.nir_file import write_nir

        graph = write_nir(loaded, out_file)
    kinds = [f"{name} ({type(node).__name__})" for name, node in graph.nodes.items()]
    if json:
        return print_json({"file": str(out_file), "nodes": {n: type(node).__name__ for n, node in graph.nodes.items()},
                           "edges": sorted(map(list, graph.edges)), "dt": graph.metadata["dt"]})
    out.print(f"wrote {out_file}: {', '.join(kinds)}; a frame is {graph.metadata['dt']:g} s", soft_wrap=True)
