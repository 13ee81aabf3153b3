"""The verbs ``demo`` and ``run``: recordings, and other frames, through a board."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tidegate.clips import clips
from tidegate.host.figures import Cost, comparison, ratio_text
from tidegate.spec.errors import TidegateError

from .boards import loaded_board
from .console import (
    BeamOption,
    BoardOption,
    EarlyOption,
    JsonOption,
    LanesOption,
    MarginOption,
    MemoryOption,
    ModelOption,
    StepsOption,
    ThetaOption,
    out,
    print_json,
    progress,
)

if TYPE_CHECKING:
    import numpy as np

    from tidegate.host.frontend import FrontEndSettings
    from tidegate.host.recordings import Decision
    from tidegate.spec.model import Model
    from tidegate.spec.network import Network

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: " "}      # None: a word that the model cannot say


def _loaded(model: str, theta: float, early: bool, margin: float | None, beam: int | None = None) -> "Model":
    """A model, with the rule by which the board shall decide early, or none, and with this beam."""
    from dataclasses import replace

    from tidegate import load_model

    loaded = load_model(model).turned(theta)
    loaded = loaded if beam is None else loaded.with_beam(beam)
    return loaded.deciding(margin) if early or margin is not None else replace(loaded, stop=None)


def demo(model: ModelOption = "commands", board: BoardOption = "virtual", lanes: LanesOption = None,
         theta: ThetaOption = 1.0, early: EarlyOption = False, margin: MarginOption = None,
         json: JsonOption = False) -> None:
    """Stream the bundled words through the virtual board: what it hears, and what that costs against dense."""
    from tidegate.host.features import features_of, settings_of
    from tidegate.host.recordings import against_dense, compare_with_dense, total_costs

    loaded = _loaded(model, theta, early, margin)
    if loaded.tokens is not None:
        raise TidegateError("this model tells strings, and the bundled clips hold one word each; give a recording to "
                            "`tidegate run`")
    net, frontend, done = loaded.network, settings_of(loaded), []
    words = [(clip, features_of(loaded, clip.path)) for clip in clips()]
    with loaded_board(board, lanes, loaded) as device, progress("streaming", json) as step:
        if not json:
            _print_head(model, loaded, device.design.lanes)
        for compared in compare_with_dense(device, loaded, words):
            done.append(compared)
            if not json:
                decision = compared.decision
                at = _when(decision, frontend, "{:>8} of {:.2f} s") if loaded.stop else ""
                out.print(Text.assemble(
                    _MARKS[compared.right], f" {compared.clip.word:10}{decision.label:10}{decision.confidence:5.0%}{at}"
                    + _cost_columns(decision.cost, compared.dense, net)))
            step(len(done), len(words))
    rows, (delta, dense) = [each.to_dict(loaded) for each in done], total_costs(done, net)
    right, judged = sum(r["right"] is True for r in rows), sum(r["right"] is not None for r in rows)
    frames_used = sum(r["frames_used"] for r in rows) / len(rows)
    if json:
        return print_json({"model": model, "lanes": device.design.lanes, "clips": rows, "totals": {
            "clips": len(rows), "judged": judged, "right": right, "frames_used": frames_used,
            **against_dense(delta, dense, net)}})
    used = f"{frames_used:12.0%} of it" if loaded.stop else ""
    out.print(f"  {'all':10}{f'{right}/{judged} right':15}{used}"
              + _cost_columns(delta, dense, net), style="bold")
    ratios, where = comparison(delta, dense, net), "over the whole clips" if loaded.stop else "on the same frames"
    out.print(f"\nAll in all {ratio_text(ratios['speedup'])} fewer cycles and {ratio_text(ratios['fetch_reduction'])} "
              f"fewer weights than the same core in dense mode {where}.")


def _when(decision: "Decision", frontend: "FrontEndSettings", form: str) -> str:
    """``form`` of the time of the decision as text, "end" where nothing was decided before, and of the length."""
    at, seconds = decision.times(frontend)
    return form.format("end" if decision.decided_at is None else f"{at:.2f}", seconds)


def _print_head(name: str, model: "Model", lanes: int) -> None:
    net, stop = model.network, model.stop
    thetas = ", ".join(f"{t}/256" for t in net.thresholds)
    rule = f", decided at a lead above {model.stop_margin:g}" if stop else ""
    out.print(Text.assemble((name, "bold"), f": {net.shape}, {net.dense_weights} weights, thresholds {thetas}{rule}; "
                            f"{lanes} lanes. The voices are synthetic.\n"))
    at = f"{'after':>18}" if stop else ""
    out.print(f"  {'spoken':10}{'decided':10}{'sure':>5}{at}{'occupancy':>11}{'cycles/frame':>14}"
              f"{'dense':>7}{'fewer':>7}{'words/frame':>13}{'dense':>7}{'fewer':>7}", style="bold")


def _cost_columns(cost: Cost, full: Cost, net: "Network") -> str:
    n, all_of_it, words, ratios = cost.frames, full.frames, cost.weight_words, comparison(cost, full, net)
    return (f"{cost.overall_occupancy(net):11.1%}"
            f"{cost.cycles / n:14.0f}{full.cycles / all_of_it:7.0f}{ratio_text(ratios['speedup']):>7}"
            f"{words / n:13.0f}{full.weight_words / all_of_it:7.0f}{ratio_text(ratios['word_reduction']):>7}")


def run(files: Annotated[list[Path], typer.Argument(
            help="Sound files (WAV, FLAC, Ogg, MP3), or .npy and .npz files of frames.", show_default=False)],
        model: ModelOption = "commands", board: BoardOption = "virtual", lanes: LanesOption = None,
        dense: Annotated[bool, typer.Option("--dense", help="Dense mode: every element is sent.")] = False,
        theta: ThetaOption = 1.0, early: EarlyOption = False, margin: MarginOption = None, beam: BeamOption = None,
        memory: MemoryOption = 1, steps: StepsOption = None, json: JsonOption = False) -> None:
    """Stream recordings of one word each, or frames from arrays, through a board and print the answer to each.

    That is the label of its last frame, or of the frame 0.2 s after the word, if more than 0.5 s of silence follow it;
    or, early, of the first frame in which the best label leads by enough.  Of a model that listens it is the keyword
    that leads by most in any frame, if one does.  A model that tells strings takes recordings of any length and prints
    the string, such as a telephone number.

    An array holds frames (T, features) or (N, T, features), in an .npz as x: floats in the model's units, or integers
    in LSBs of 1/256. The answer is that of the last frame: a label, or the numbers of a model that tells numbers; with
    --json those of all frames. For a model of `tidegate convert` it may also hold images (n, channels, height,
    width), uint8 or 0..1, each of which is held for --steps frames.
    """
    from tidegate.host.arrays import frame_sequences, holds_arrays

    if named := [file for file in files if _is_model(file)]:
        raise TidegateError(f"'{named[0]}' is a model, and run takes what the model hears; name the model by --model "
                            f"{named[0]}")
    if any(map(holds_arrays, files)):
        if not all(map(holds_arrays, files)):
            raise TidegateError("sound and arrays are run one kind at a time; give only one of them")
        loaded = _loaded(model, theta, early, margin, beam)
        sequences = [(each.source, each.frames) for each in frame_sequences(loaded, files, steps)]
        return _run_sequences(model, loaded, sequences, board, lanes, memory, dense, json)
    if steps is not None:
        raise TidegateError("--steps is of images in .npy and .npz files, which a converted model hears; leave it out")

    from tidegate.host.features import features_of, settings_of
    from tidegate.host.recordings import check_word_length, decide

    loaded = _loaded(model, theta, early, margin, beam)
    if not loaded.frontend:
        raise TidegateError("this model has no feature front end, so it hears no sound; give it frames as .npy or .npz "
                            "files")
    net, frontend, rows = loaded.network, settings_of(loaded), []
    sounds = [(path, features_of(loaded, path)) for path in files]
    if loaded.tokens is not None:
        return _run_sequences(model, loaded, [(str(path), frames) for path, frames in sounds], board, lanes, memory,
                              dense, json)
    for path, frames in sounds:
        check_word_length(path, frames, frontend)
    with loaded_board(board, lanes, loaded, memory) as device, progress("streaming", json) as step:
        device.dense, device.stop = dense, loaded.stop
        width = max(len(str(path)) for path in files)
        for path, frames in sounds:
            decision = decide(device, frames, loaded)
            rows.append({"file": str(path), "decided": decision.label, "confidence": decision.confidence,
                         **decision.to_dict(frontend), **decision.cost.to_dict(net)})
            if not json:
                cost = decision.cost
                at = _when(decision, frontend, "at {:>4} of {:.2f} s  ") if loaded.stop else ""
                out.print(Text.assemble(
                    f"{path!s:{width}}  ", (f"{decision.label:10}", "bold"), f" {decision.confidence:4.0%}  "
                    f"{at}{_cost_text(cost, net)}"), soft_wrap=True)
            step(len(rows), len(sounds))
    if json:
        print_json({"model": model, "lanes": device.design.lanes, "thresholds": list(net.thresholds), "dense": dense,
                    "files": rows})


def _is_model(file: Path) -> bool:
    """Whether a file to hear is the file of a model, or the name of a shipped one."""
    from tidegate import zoo

    return not file.is_dir() and (file.suffix == zoo.SUFFIX or (str(file) in zoo.names() and not file.exists()))


def _cost_text(cost: Cost, net: "Network") -> str:
    occupancy = "/".join(f"{x:.1%}" for x in cost.occupancy(net))
    return (f"occupancy {occupancy}  {cost.frames} frames  {cost.cycles / cost.frames:.0f} cycles/frame  "
            f"{cost.weight_words / cost.frames:.0f} weight words/frame")


def _run_sequences(name: str, model: "Model", sequences: "list[tuple[str, np.ndarray]]", board: str, lanes: int | None,
                   memory: int, dense: bool, json: bool) -> None:
    """``run`` for frames that do not come from sound, and for strings: (source, frames) of each."""
    from tidegate.host.answers import answer

    net, rows = model.network, []
    with loaded_board(board, lanes, model, memory) as device, progress("streaming", json) as step:
        device.dense, device.stop = dense, model.stop
        width = max(len(source) for source, _ in sequences)
        for source, frames in sequences:
            told = answer(device, frames, model)
            rows.append({"file": source, **told.to_dict(model), **told.cost.to_dict(net)})
            if not json:
                at = f"at frame {told.decided_at} of {told.frames}  " if told.decided_at is not None else ""
                out.print(Text.assemble(f"{source:{width}}  ", (told.text(model), "bold"),
                                        f"  {at}{_cost_text(told.cost, net)}"), soft_wrap=True)
            step(len(rows), len(sequences))
    if json:
        print_json({"model": name, "lanes": device.design.lanes, "thresholds": list(net.thresholds), "dense": dense,
                    "files": rows})
