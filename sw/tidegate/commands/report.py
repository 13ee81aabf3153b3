"""The verb ``report``: a trained model or a sweep as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from .console import JsonOption, hint_at_extras, out, print_json


def report(
    target: Annotated[str, typer.Argument(help="Name of a shipped model, a model file, or the folder of a sweep.",
                                          show_default=False)],
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Folder of words to take a clip from, where no "
                                                                   "bundled one fits.")] = None,
    clip: Annotated[Path | None, typer.Option("--clip", help="Recording whose events are shown.")] = None,
    out_file: Annotated[Path | None, typer.Option(
        "--out", "-o", help="HTML file to write (default: report.html in the folder of a sweep, else NAME.report.html "
                            "beside the model file or, for a shipped one, here).")] = None,
    json: JsonOption = False,
) -> None:
    """Write a report as one HTML file: Pareto plot and curves of a sweep, occupancy, events of a clip, confusion."""
    from tidegate import zoo
    from tidegate.spec.errors import TidegateError

    if out_file is not None and not out_file.absolute().parent.is_dir():
        raise TidegateError(f"'{out_file}' cannot be written: there is no such folder")
    with hint_at_extras():
        from tidegate.train.publish.report import write_model_report, write_report

        if Path(target).is_dir() and ((Path(target) / "sweep.json").is_file() or target not in zoo.names()):
            written = write_report(Path(target), data, clip, out_file)
        else:
            shipped = target in zoo.names()
            path = zoo.path(target) if shipped else Path(target)
            log = path.with_name(path.stem + ".log.csv")
            name = f"{path.stem}.report.html"
            written = write_model_report(path, log if log.is_file() else None,
                                         out_file or (Path(name) if shipped else path.with_name(name)), clip, data)
    if json:
        return print_json({"file": str(written)})
    out.print(f"wrote {written}", soft_wrap=True)
