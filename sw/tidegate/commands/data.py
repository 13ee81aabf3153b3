"""The verb ``data``: public data sets, near words spoken by synthetic voices, and series from public files."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from typer.core import TyperGroup

from tidegate.spec.errors import TidegateError

from .console import JsonOption, hint_at_extras, out, print_json, progress

ToOption = Annotated[Path | None, typer.Option("--to", help="Folder to put it in.", show_default="data")]
DOWNLOAD = "NAME"           # how the help lists the data sets: each is a command of its own
_CLASSES = ("unknown", "silence")


class _Group(TyperGroup):
    """Takes what is no command of its own for the name of a data set."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, DOWNLOAD)


app = typer.Typer(cls=_Group, invoke_without_command=True)


@app.callback()
def data(context: typer.Context, to: ToOption = None, json: JsonOption = False) -> None:
    """Download a public data set that the shipped recipes train on, or make near words or series; alone, list the data
    sets."""
    from tidegate.train.data.fetch import SOURCES

    if context.invoked_subcommand is not None:
        context.obj = (to, json)
        return
    if json:
        return print_json([{"name": s.name, "url": s.url, "licence": s.licence} for s in SOURCES.values()])
    table = Table("data set", "licence", Column("from", overflow="fold"))
    for s in SOURCES.values():
        table.add_row(s.name, s.licence, s.url)
    out.print(table)


@app.command(DOWNLOAD)
def download(context: typer.Context, to: ToOption = None, json: JsonOption = False) -> None:
    """Download the data set NAME from its publisher."""
    from tidegate.train.data.fetch import fetch

    before_to, before_json = context.obj
    name, json = str(context.info_name), json or before_json
    folder = fetch(name, to or before_to or Path("data"), progress=not json)
    return print_json({"name": name, "folder": str(folder)}) if json else out.print(f"{name} is in {folder}")


@app.command("near-words")
def near_words(
    context: typer.Context,
    keywords: Annotated[str | None, typer.Option(
        "--keywords", "-k", help="English words, with commas between them.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(
        "--model", "-m", help="Instead, the words of this model.", show_default=False)] = None,
    out_dir: Annotated[Path | None, typer.Option(
        "--out", "-o", help="New folder of words to write; --to does the same.", show_default="near-words")] = None,
    near: Annotated[int, typer.Option("--near", help="Words and phrases near to each keyword, 1 to 500.")] = 30,
    other: Annotated[int | None, typer.Option(
        "--other", help="Common words and phrases near to none.", show_default="as many as near ones")] = None,
    voices: Annotated[int, typer.Option("--voices", help="Voices that speak each of them.")] = 14,
    spoken: Annotated[int, typer.Option(
        "--spoken", help="Clips of each keyword itself, written to OUT/_keywords_ for train --more-keywords; not with "
        "--flat.")] = 0,
    least: Annotated[float, typer.Option(
        "--least", help="Leave out near words at a smaller distance than this, 0 to 2; from 'four', 'thor' is at 0.25, "
        "'war' at 0.85.")] = 0.0,
    sentences: Annotated[float, typer.Option("--sentences", help="Minutes of sentences without keywords.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random choices.")] = 0,
    flat: Annotated[bool, typer.Option(
        "--flat", help="One folder per voice instead of per word, each clip a second long: for the folder 'unknown' "
        "of your own words.")] = False,
    json: JsonOption = False,
) -> None:
    """Have words that sound like keywords spoken by synthetic voices (espeak-ng, flite), for a model to reject."""
    from tidegate.voices.corpus import Wanted, make
    from tidegate.voices.lexicon import english

    if (keywords is None) == (model is None):
        raise TidegateError("near to what? give --keywords left,right or --model commands, one of them")
    words = _of_model(model) if model else [w for word in (keywords or "").split(",") if (w := word.strip().lower())]
    before_to, before_json = context.obj
    json, folder = json or before_json, out_dir or before_to or Path("near-words")
    wanted = Wanted(tuple(dict.fromkeys(words)), near, other, voices, spoken, least, sentences, seed, flat)
    with progress("speaking", visible=not json) as step:
        made = make(wanted, folder, english(), step)
    if json:
        return print_json({"folder": str(made.folder), "words": made.words, "clips": made.clips,
                           "spoken": made.spoken, "too_near": made.too_near,
                           "sentences": made.sentences, "minutes": round(made.minutes, 2)})
    sentences_text = f", {made.sentences} sentences ({made.minutes:.1f} minutes)" if made.sentences else ""
    spoken_text = f", {made.spoken} of the keywords" if made.spoken else ""
    out.print(f"{made.clips} clips of {made.words} words{spoken_text}{sentences_text} are in {made.folder}",
              soft_wrap=True)
    if made.too_near:
        out.print(f"{made.too_near} near words are nearer than {least:g} and left out; --near asks for more")


@app.command("series")
def series(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(
        help="A .csv with a column of times and columns of numbers, a segment of comma2k19 (.npz), or a record "
        "of PhysioNet with two leads (.hea).", show_default=False)],
    out_file: Annotated[Path | None, typer.Option(
        "--out", "-o", help="File to write.", show_default="the source's name with .series.npz, here")] = None,
    target: Annotated[str, typer.Option(
        "--target", help="Of a .csv: the column to be told.", show_default="the last")] = "",
    step: Annotated[float | None, typer.Option(
        "--step", min=1e-6, help="Of a .csv: seconds per frame.", show_default="its median step")] = None,
    smooth: Annotated[float, typer.Option(
        "--smooth", min=0, help="Time constant in seconds of a low-pass for x, which takes noise away (0: none).")] = 0,
    json: JsonOption = False,
) -> None:
    """Turn a public series into the .npz that `tidegate train` takes: x (T, features), y (T, outputs), at even steps.

    Of a .csv, x are all columns and y is one of them: the recipe says how far ahead y is told.
    """
    with hint_at_extras():
        from tidegate.train.data.series_sources import read_source, write_records

        records = read_source(source, target, step, smooth)
        written = write_records(records, out_file or Path(f"{source.stem}.series.npz"))
    frames = sum(len(record.x) for record in records.records)
    if json or context.obj[1]:
        return print_json({"files": list(map(str, written)), "frames": frames, "rate": records.rate,
                           "features": records.records[0].x.shape[1], "outputs": list(records.names)})
    for path in written:
        out.print(f"wrote {path}", soft_wrap=True)
    out.print(f"{frames} frames of {records.records[0].x.shape[1]} features at {records.rate:.4g} frames/s; to be "
              f"told: {', '.join(records.names)}")


def _of_model(name: str) -> list[str]:
    """The words of a model, digits spelled."""
    from tidegate import load_model
    from tidegate.clips import DIGITS

    with hint_at_extras():
        labels = load_model(name).labels
    return [DIGITS[int(w)] if w.isdecimal() and int(w) < len(DIGITS) else w for w in labels if w not in _CLASSES]
