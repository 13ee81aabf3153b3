"""The verbs about models and what they are made from: ``models``, ``train``, ``eval``, ``verify``."""

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tidegate.host.figures import ratio_text
from tidegate.train.tasks.primary import Primary, primary_on

from .against_float import against_float
from .console import (
    LANES_OF_BOARDS,
    BeamOption,
    EarlyOption,
    JsonOption,
    MarginOption,
    MemoryOption,
    StepsOption,
    ThetaOption,
    err,
    hint_at_extras,
    names_in,
    out,
    print_json,
    progress,
)

if TYPE_CHECKING:
    import numpy as np

    from tidegate.spec.design import Design
    from tidegate.spec.model import Model

ModelArgument = Annotated[str, typer.Argument(help="Name of a shipped model, or a model file.", show_default=False)]
NETLIST_FRAMES = 40     # of a netlist, which takes its time
STREAM_PAUSE_S = 0.3    # between the recordings of a stream


def models(json: JsonOption = False) -> None:
    """List the models that come with tidegate, with the figures of their cards."""
    from tidegate import zoo

    entries = []
    for name in zoo.names():
        model = zoo.load(name)
        net = model.network
        entries.append({
            "name": name, "file": str(zoo.path(name)), "labels": list(model.labels), "features": net.features,
            "gru": [layer.size for layer in net.layers], "weights": net.dense_weights,
            "thresholds": list(net.thresholds), "digest": model.digest, "card": model.card,
        })
    if json:
        return print_json(entries)
    table = Table("model", "labels", "features", "layers", "weights (number)", "Θ / 256", "figures of its card")
    for e in entries:
        figures = "\n".join(_figures(e["card"], primary_on(e["card"])))
        table.add_row(e["name"], " ".join(e["labels"]), str(e["features"]), "-".join(map(str, e["gru"])),
                      str(e["weights"]), ", ".join(map(str, e["thresholds"])), figures)
    out.print(table)


def _figures(card: dict, primary: Primary) -> list[str]:
    """The numbers of a card on one line per part (validation, test, ...)."""
    lines = []
    for part, figures in card.items():
        if isinstance(figures, dict) and primary.name in figures:
            early = f" after {figures['frames_used']:.0%} of the frames" if "frames_used" in figures else ""
            lines.append(f"{part}: {primary.phrase(figures, 1)}{early}, "
                         f"fetch reduction {ratio_text(figures.get('fetch_reduction'))}")
    if d := card.get("detector"):
        lines.append(f"streams of the validation part, {d['hours']:.1f} h: at a threshold of {d['threshold']:.4g} "
                     f"{d['misses']:.1%} of the keywords are missed, at {d['per_hour']:.2f} false accepts per hour "
                     f"({d['wanted_per_hour']:g} were wanted); `tidegate stream` judges it on others")
    return lines


def train(
    directory: Annotated[Path | None, typer.Argument(
        help="Folder of words with one folder of recordings per word, or the data folder of the recipe's task.",
        show_default=False)] = None,
    recipe: Annotated[str | None, typer.Option(
        "--recipe", "-r", help='Name of a shipped one, or a JSON file.',
        show_default="digits for a folder of the ten digits, words for any other")] = None,
    out_file: Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")] = Path("model.tidegate"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Epochs (default: those of the recipe).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed (default: that of the recipe).")] = None,
    start: Annotated[str | None, typer.Option(
        "--from", help="Model to begin with: a file or the name of a shipped one; the same words and sizes.",
        show_default=False)] = None,
    speech: Annotated[list[Path] | None, typer.Option(
        "--speech", help="Folder of continuous speech to reject; may be repeated. This and the next ones are for "
        "recipes with 'listening', such as words-listen.", show_default=False)] = None,
    other_words: Annotated[list[Path] | None, typer.Option(
        "--other-words", help="Folder of other words to reject, such as near misses; may be repeated.",
        show_default=False)] = None,
    more_keywords: Annotated[list[Path] | None, typer.Option(
        "--more-keywords", help="Folder with more recordings of the keywords, one folder per keyword; may be repeated.",
        show_default=False)] = None,
    noise: Annotated[list[Path] | None, typer.Option(
        "--noise", help="Folder of sounds that are no speech; may be repeated.", show_default=False)] = None,
    rooms: Annotated[list[Path] | None, typer.Option(
        "--rooms", help="Folder of impulse responses of rooms; may be repeated.", show_default=False)] = None,
    teacher: Annotated[Path | None, typer.Option(
        "--teacher", help="File in which the teacher of a recipe with 'teacher' is kept; made if it is not there. "
        "Without it the teacher is deleted when the run is complete.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Train a model on a folder of words; what is trained is bit for bit what the board computes."""
    from dataclasses import replace

    with hint_at_extras():
        from tidegate import train as training
        from tidegate import zoo
        from tidegate.train.data.folders import default_recipe
        from tidegate.train.data.material import SoundFolders
        from tidegate.train.recipe import Recipe
        from tidegate.train.tasks.registry import find_task

        recipe = recipe or default_recipe(directory)
        chosen = Recipe.read(recipe if Path(recipe).suffix == ".json" else zoo.recipe_path(recipe))
        if epochs is not None:
            chosen = replace(chosen, epochs=epochs)
        if seed is not None:
            chosen = replace(chosen, seed=seed)
        given = (speech, other_words, more_keywords, noise, rooms)
        sources = SoundFolders(*(tuple(folders or ()) for folders in given))
        path = training.run(directory, chosen, out_file, resume=resume, sources=sources,
                            start=None if start is None else zoo.load(start), teacher=teacher)
        card, task = zoo.load(str(path)).card, find_task(chosen.task)
        if json:
            survey = task.survey(task.load(chosen, directory))      # words come from the cache
            return print_json({"file": str(path), "card": card} | ({"data": survey} if survey else {}))
    for line in _figures(card, task.primary):
        out.print(line)
    out.print(f"wrote {path}; `tidegate report {path}` draws how it was trained and what it does", soft_wrap=True)


def evaluate(
    model: ModelArgument,
    data: Annotated[Path | None, typer.Option(
        "--data", "-d", help="Folder of words, or data of the model's task; or .npy and .npz files of frames, a file "
        "or a folder of them; of a model that tells strings also a .csv of recordings and what is said in them.",
        show_default=False)] = None,
    part: Annotated[str | None, typer.Option(
        "--part", help="train, validation, test, unseen, or all (default: test, if there is one).",
        show_default=False)] = None,
    theta: ThetaOption = 1.0,
    early: EarlyOption = False,
    margin: MarginOption = None,
    beam: BeamOption = None,
    steps: StepsOption = None,
    json: JsonOption = False,
) -> None:
    """Accuracy, sparsity and fetch reduction of a model on a folder of words, by the golden model.

    Of a model that tells numbers: RMSE, R² and correlation, on its series. Of a model that tells strings: the word
    error rate, on strings composed of recorded words or on recorded ones. Frames from arrays are judged without parts:
    in an .npz x are the frames and y, if it is there, the class of each sequence. Of a model of `tidegate convert`
    x may also be images, such as those of its --judge.
    """
    from tidegate import load_model

    with hint_at_extras():
        from tidegate.train.judge.evaluate import evaluate_directory, task_name
        from tidegate.train.tasks.registry import find_task

        loaded, early = load_model(model).turned(theta), early or margin is not None
        loaded = loaded.deciding(margin) if early else loaded
        loaded = loaded if beam is None else loaded.with_beam(beam)
        figures = evaluate_directory(loaded, data, part, progress=True, early=early, bits=True,
                                     steps=steps)
        primary = find_task(task_name(loaded)).primary
    if json:
        return print_json(figures)
    for line in figures.get("warnings", ()):
        err.print(f"warning: {line}", style="yellow", soft_wrap=True)
    if skipped := figures["skipped"]:
        err.print(f"{len(skipped)} clips could not be used, the first: {': '.join(skipped[0])}",
                  soft_wrap=True)
    told = primary.phrase(figures) if primary.name in figures else f"{figures['utterances']} sequences"
    out.print(f"{figures['part']}: {told}; "
              f"fetch reduction {ratio_text(figures['fetch_reduction'], 2)}, "
              f"temporal sparsity {figures['temporal_sparsity']:.1%}, "
              f"occupancy {' '.join(f'{x:.1%}' for x in figures['occupancy'])}")
    out.print(f"{figures['operations']:.0f} operations (events × fan-out) a clip, a dense network "
              f"{figures['dense_operations']:.0f}; bits of activity "
              f"{' '.join(f'{x:.2f}' for x in figures['activity_bits'])}, significant bits per weight "
              f"{figures['bits_per_weight']:.3f}", soft_wrap=True)
    if early:
        at_once = f" ({figures['decided_at_once']:.1%} in the first frame)" if figures["decided_at_once"] else ""
        out.print(f"decided at a lead above {figures['margin']:g} in {figures['decided']:.1%} of the clips{at_once}, "
                  f"on average after {figures['frames_used']:.1%} of the frames; "
                  f"{figures['weight_words_per_decision']:.0f} weight words a decision on {figures['lanes']} lanes, "
                  f"{ratio_text(figures['decision_reduction'])} fewer weights than a dense network on the whole clips",
                  soft_wrap=True)
    if "rmse" in figures:
        _print_regression(figures, loaded)
    if "substitutions" in figures:
        out.print(f"of {figures['tokens']} tokens {figures['substitutions']} replaced by another, "
                  f"{figures['deletions']} missed, {figures['insertions']} told that were not said; "
                  f"{figures['strings_right']:.1%} of the strings without an error", soft_wrap=True)
    if "recall" in figures:
        table = Table("label", "recall")
        for label, recall in figures["recall"].items():
            table.add_row(label, "-" if recall is None else f"{recall:.1%}")
        out.print(table)


def _print_regression(figures: dict, model: "Model") -> None:
    table = Table("output", "RMSE", "R²", "Pearson correlation")
    units = model.readout.units if model.readout is not None else ("",) * len(model.labels)
    for label, unit in zip(model.labels, units, strict=True):
        pearson = figures["pearson"][label]
        table.add_row(label, f"{figures['rmse'][label]:.4g} {unit}".strip(), f"{figures['r2'][label]:.4f}",
                      "-" if pearson is None else f"{pearson:.4f}")
    out.print(table)


def verify(
    model: ModelArgument,
    frames: Annotated[int | None, typer.Option(
        "--frames", "-n", min=1, help="Frames per board and setting (default: 1000; netlist: 40).",
        show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(
        "--data", "-d", help="Recordings (default: the bundled clips); for a model that hears no sound, .npy or .npz "
        "files of frames, or the data of its task (default: random walks).", show_default=False)] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random walks.")] = 0,
    lanes: Annotated[list[int] | None, typer.Option(
        "--lanes", help="Virtual boards (default: 64), or which of the board's designs: "
        f"{LANES_OF_BOARDS}.", show_default=False)] = None,
    memory: MemoryOption = 1,
    against: Annotated[str, typer.Option(
        "--against", help="rtl, in virtual boards; netlist: what synthesis makes of it for --board; or a file of the "
        "float network that the model was made of, such as trained.onnx.")] = "rtl",
    board: Annotated[str | None, typer.Option(
        "--board", "-b", help="Board whose netlist is simulated: icebreaker or ulx3s.", show_default=False)] = None,
    cells: Annotated[str | None, typer.Option(
        "--cells", help="Cells of a --board that is built with others than its own, such as unit.",
        show_default=False)] = None,
    rules: Annotated[str | None, typer.Option(
        "--rules", help="Its encoder rules, such as delta,diffuse.", show_default=False)] = None,
    features: Annotated[int | None, typer.Option(
        "--features", help="Its elements of a frame.", show_default=False)] = None,
    stream: Annotated[bool, typer.Option(
        "--stream", help="Join the recordings to one stream, and detect by the rule of the host's detector.")] = False,
    bound: Annotated[float | None, typer.Option(
        "--bound", help="Against a float network: the largest difference that a value may have, in its own units, such "
        "as 0.1 (default: four times what rounding alone makes of each value).", show_default=False)] = None,
    theta: ThetaOption = 1.0,
    readout: Annotated[str | None, typer.Option(
        "--readout", help="Against a float network: where an answer is read: last, mean or frames.",
        show_default=False)] = None,
    normalised: Annotated[bool, typer.Option(
        "--normalised", help="Against a float network: it hears features as the model's front end normalises "
        "them.")] = False,
    steps: StepsOption = None,
    json: JsonOption = False,
) -> None:
    """Compare golden and RTL on real frames, every integer: at Θ = 0, at the model's own Θ and at a large Θ.

    Every frame is also compared for whether it decides, and what; then that no frame after a decision is run.

    A model that does not hear sound is compared on the data of its task, on frames from .npy and .npz files, or without
    data on random walks, whose seed is printed.

    With --stream the recordings follow each other with pauses of 0.3 s, from one reset, and the decisions are those
    of the host's detector.

    With --against netlist, the netlist of a board's bitstream in place of the RTL: logits, events and weight words.
    It is synthesised and compiled once, which takes minutes.

    With --against FILE, golden and the float network of this file, on the --data that the network hears: how far apart
    each value of each layer is, the first one beyond its bound, and why.
    """
    from tidegate import load_model
    from tidegate.clips import clips
    from tidegate.host.arrays import array_files, frame_sequences, holds_arrays, limited, random_walks
    from tidegate.host.audio import FORMATS, SUFFIXES
    from tidegate.host.detector import listening_stop
    from tidegate.host.features import settings_of
    from tidegate.spec.errors import TidegateError

    loaded = load_model(model)
    if stream and not loaded.frontend:
        raise TidegateError("this model hears no sound, so there is no stream of recordings; leave --stream out")
    rule = listening_stop(loaded) if stream else None
    built = {"cells": names_in(cells), "rules": names_in(rules), "features": features}
    if memory != 1 and (against != "rtl" or board is not None):
        raise TidegateError("only virtual boards can have more memory; leave --memory out")
    of_float = {"--bound": bound, "--theta": None if theta == 1 else theta, "--readout": readout,
                "--normalised": normalised or None}
    if against not in ("rtl", "netlist"):
        of_rtl = {"--board": board, "--lanes": lanes, "--stream": stream or None,
                  "--steps": steps} | {f"--{k}": built[k] for k in built}
        if given := [name for name, value in of_rtl.items() if value is not None]:
            raise TidegateError(f"{' and '.join(given)} cannot be used against a float network; leave it out")
        return against_float(loaded.turned(theta), against, data, frames, bound, readout, normalised, json)
    if given := [name for name, value in of_float.items() if value is not None]:
        raise TidegateError(f"{' and '.join(given)} is for a comparison with a float network; add --against FILE, such "
                            "as trained.onnx")
    design = _check_against(against, board, lanes, built)
    task = loaded.card.get("recipe", {}).get("task")
    arrays = array_files(data) if data is not None and (data.is_dir() or holds_arrays(data)) else []
    sound = bool(loaded.frontend) and not arrays
    paths = arrays
    if sound:
        paths = [c.path for c in clips()] if data is None else sorted(
            p for p in data.rglob("*") if p.suffix.lower() in SUFFIXES)
    Random(0).shuffle(paths)        # a corpus is sorted by word: take some of each
    if data is not None and not paths and (sound or task is None):
        raise TidegateError(f"no {'recordings' if sound else 'frames'} in '{data}'; give a folder of "
                            f"{FORMATS if sound else '.npy and .npz'} files")
    if steps is not None and (sound or not paths):
        raise TidegateError("--steps is of images in .npy and .npz files, which a converted model hears; leave it out")
    with hint_at_extras("build" if board else None):
        from tidegate_sim import verify as walk

        count = frames or (1000 if board is None else NETLIST_FRAMES)
        heard, walked = None, None
        if sound:
            heard = list(walk.speech_frames(loaded, paths, count))
        elif paths:
            heard = limited([each.frames for each in frame_sequences(loaded, paths, steps)], count)
        elif task is not None:
            heard = _frames_of_task(loaded, data, count)
        if heard is None:
            heard, walked = random_walks(loaded, count, seed), seed
        if stream:
            settings = settings_of(loaded)
            pause = round(STREAM_PAUSE_S * settings.sample_rate / settings.hop)
            heard = [walk.one_stream(loaded, heard, pause)[:count]]
        with progress("verifying") as step:
            if board is None:
                report = walk.verify(loaded, heard, lanes or (64,), progress=step, listening=rule, memory=memory)
            else:
                report = walk.verify_netlist(loaded, heard, board, design, progress=step, listening=rule)
    if json:
        print_json(report | ({} if walked is None else {"seed": walked}))
    else:
        if walked is not None:
            out.print(f"random walks of seed {walked} (no --data)")
        where = f" of {board}'s netlist, {report['cycles']} cycles in {report['seconds']:.0f} s" if board else ""
        out.print(f"{report['frames']} frames at {len(report['thresholds'])} settings of Θ on "
                  f"{', '.join(map(str, report['lanes']))} lanes{where}, {report['decisions']} decisions, then "
                  f"{report['frames_not_run']} frames not run after one: {report['integers']} integers compared, "
                  f"{report['mismatches']} mismatches", soft_wrap=True)
    if report["first_mismatch"]:
        raise TidegateError(f"golden and {'netlist' if board else 'RTL'} differ: {report['first_mismatch']['text']}")


def _frames_of_task(model: "Model", data: Path | None, count: int) -> "list[np.ndarray] | None":
    """Frames of the model's task; None if the task needs data and there are none."""
    with hint_at_extras("train"):
        from tidegate.train.errors import DataError
        from tidegate.train.judge.evaluate import frames_of_clips

        try:
            return list(frames_of_clips(model, data, count))
        except DataError:
            if data is not None:
                raise
            return None


def _check_against(against: str, board: str | None, lanes: list[int] | None, built: dict) -> "Design | None":
    """The design of the netlist, if one is chosen."""
    from tidegate.spec.boards import BOARDS, board_spec
    from tidegate.spec.design import SIMULATED
    from tidegate.spec.errors import TidegateError

    if against == "rtl":
        if board is not None or any(option is not None for option in built.values()):
            raise TidegateError("--board, --cells, --rules and --features choose a netlist; add --against netlist")
        for p in lanes or ():
            if p not in SIMULATED:
                raise TidegateError(
                    f"there is no virtual board with {p} lanes; choose {', '.join(map(str, SIMULATED))}")
    elif board is None:
        raise TidegateError(f"whose netlist? give --board {' or '.join(BOARDS)}")
    elif len(lanes or ()) > 1:
        raise TidegateError("one netlist at a time: give --lanes once")
    else:
        return board_spec(board).design(lanes[0] if lanes else None, **built)
    return None
