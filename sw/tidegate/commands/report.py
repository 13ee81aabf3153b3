"""The verb ``report``: a trained model or a sweep as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from .console import JsonOption, StepsOption, hint_at_extras, out, print_json


def report(
    target: Annotated[str, typer.Argument(help="Name of a shipped model, a model file, or the folder of a sweep.",
                                          show_default=False)],
    data: Annotated[Path | None, typer.Option(
        "--data", "-d", help="Folder of words to take a clip from, where no bundled one fits; or the series of a model "
        "that tells numbers.")] = None,
    clip: Annotated[Path | None, typer.Option(
        "--clip", help="Recording, or .npy or .npz file of frames, whose events are shown.")] = None,
    steps: StepsOption = None,
    out_file: Annotated[Path | None, typer.Option(
        "--out", "-o", help="HTML file to write (default: report.html in the folder of a sweep, else NAME.report.html "
                            "beside the model file or, for a shipped one, here).")] = None,
    csv: Annotated[Path | None, typer.Option(
        "--csv", help="Of a sweep: write its rows to this CSV file, and no page; those of margins beside it.")] = None,
    json: JsonOption = False,
) -> None:
    """Write a report as one HTML file: Pareto plot and curves of a sweep, occupancy, events of a clip, confusion."""
    from tidegate import zoo
    from tidegate.spec.errors import TidegateError

    if csv and (data or clip or out_file):
        raise TidegateError("--csv writes rows; --data, --clip and --out are for a page; choose one")
    if steps is not None and clip is None:
        raise TidegateError("--steps is of the images in --clip; give both, or none")
    if out_file is not None and not out_file.absolute().parent.is_dir():
        raise TidegateError(f"'{out_file}' cannot be written: there is no such folder")
    with hint_at_extras():
        if csv is not None:
            from tidegate.train.study.results import write_csv

            return _tell(write_csv(target, csv), json)
        from tidegate.train.publish.report import write_model_report, write_report

        if Path(target).is_dir() and ((Path(target) / "sweep.json").is_file() or target not in zoo.names()):
            written = write_report(Path(target), data, clip, out_file)
        else:
            shipped = target in zoo.names()
            path = zoo.path(target) if shipped else Path(target)
            log = path.with_name(path.stem + ".log.csv")
            name = f"{path.stem}.report.html"
            written = write_model_report(path, log if log.is_file() else None,
                                         out_file or (Path(name) if shipped else path.with_name(name)), clip, data,
                                         steps)
    _tell([written], json)


def _tell(written: list[Path], json: bool) -> None:
    if json:
        return print_json(dict(zip(("file", "early"), map(str, written), strict=False)))
    for path in written:
        out.print(f"wrote {path}", soft_wrap=True)
