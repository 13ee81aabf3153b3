"""The verbs ``demo`` and ``run``: recordings through a board."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tidegate.clips import clips, expected_label
from tidegate.host.figures import Cost, comparison, ratio_text

from .boards import loaded_board
from .console import (
    BoardOption,
    EarlyOption,
    JsonOption,
    LanesOption,
    MarginOption,
    ModelOption,
    ThetaOption,
    out,
    print_json,
    progress,
)

if TYPE_CHECKING:
    import numpy as np

    from tidegate.host.board import Board
    from tidegate.host.frontend import FrontEndSettings
    from tidegate.spec.model import Model
    from tidegate.spec.network import Network

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: " "}      # None: a word that the model cannot say


@dataclass(frozen=True)
class Heard:
    """What a board made of one recording: the label and confidence of the frame that decides, and what it all cost.

    ``frame``: number of that frame, by the board's stop rule, or of a model that listens its clearest answer
    (``tidegate.spec.stop``), or else by ``tidegate.host.word``.  ``decided_at``: number
    of the frame in which the stop rule was met, or None; ``frames``: of the recording.
    """

    label: str
    confidence: float
    cost: Cost
    decided_at: int | None
    frames: int
    frame: int

    def times(self, frontend: "FrontEndSettings") -> tuple[float, float]:
        """Seconds of sound that had been heard at the decision (without one: at the end), and of the recording."""
        return frontend.heard(self.cost.frames), frontend.heard(self.frames)

    def when(self, frontend: "FrontEndSettings", form: str) -> str:
        """``form`` of the first of ``times`` as text, "end" where nothing was decided before, and the second."""
        at, seconds = self.times(frontend)
        return form.format("end" if self.decided_at is None else f"{at:.2f}", seconds)

    def to_dict(self, frontend: "FrontEndSettings") -> dict:
        at, seconds = self.times(frontend)
        return {"frame": self.frame, "decided_at": self.decided_at,
                "decided_at_s": None if self.decided_at is None else at, "seconds": seconds,
                "frames_used": self.cost.frames / self.frames}


def hear(board: "Board", frames: "np.ndarray", model: "Model") -> Heard:
    """Stream a recording's features from reset; the model is that on the board."""
    import numpy as np

    from tidegate.host.features import settings_of
    from tidegate.host.word import find_word
    from tidegate.spec.stop import clearest

    results = list(board.stream(frames))
    at = results[-1].decided_at
    if at is None and model.detector is not None:
        frame, label = clearest(np.array([result.logits for result in results]), model.detector)
        return Heard(model.labels[label], results[frame].confidence, Cost.of(results), at, len(frames), frame)
    frame = find_word(frames, settings_of(model)).decision if at is None else at
    return Heard(results[frame].label, results[frame].confidence, Cost.of(results), at, len(frames), frame)


def _check_length(path: Path, frames: "np.ndarray", frontend: "FrontEndSettings") -> None:
    """Whether a recording may be of one word: warns or raises a TidegateError if it is too long."""
    from warnings import warn

    from tidegate.host.word import LONGEST_S, WORD_S, find_word
    from tidegate.spec.errors import TidegateError, TidegateWarning

    if (seconds := find_word(frames, frontend).seconds) > WORD_S:
        text = f"'{path}' holds {seconds:.1f} s of sound, longer than a word; `tidegate listen` hears words in a stream"
        if seconds > LONGEST_S:
            raise TidegateError(text)
        warn(TidegateWarning(f"{text}, and this is the label of its end"), stacklevel=2)


def _loaded(model: str, theta: float, early: bool, margin: float | None) -> "Model":
    """A model, with the rule by which the board shall decide early, or none."""
    from dataclasses import replace

    from tidegate import load_model

    loaded = load_model(model).turned(theta)
    return loaded.deciding(margin) if early or margin is not None else replace(loaded, stop=None)


def costs_of_dense_clips(board: "Board", clips: "list[np.ndarray]") -> dict[int, Cost]:
    """What a clip of so many frames costs in dense mode, measured on two of each length: whatever is in it."""
    from tidegate.spec.errors import TidegateError

    by_length: dict[int, list[Cost]] = {}
    board.dense, stop, board.stop = True, board.stop, None
    for frames in clips:
        costs = by_length.setdefault(len(frames), [])
        if len(costs) < 2:
            costs.append(Cost.of(list(board.stream(frames))))
    board.dense, board.stop = False, stop
    if any(len(set(costs)) > 1 for costs in by_length.values()):
        raise TidegateError("in dense mode this board's clips differ in cost; its core is not this version's")
    return {length: costs[0] for length, costs in by_length.items()}


def demo(model: ModelOption = "commands", board: BoardOption = "virtual", lanes: LanesOption = None,
         theta: ThetaOption = 1.0, early: EarlyOption = False, margin: MarginOption = None,
         json: JsonOption = False) -> None:
    """Stream the bundled words through the virtual board: what it hears, and what that costs against dense."""
    from tidegate.host.features import features_of, settings_of

    loaded = _loaded(model, theta, early, margin)
    net, frontend, rows = loaded.network, settings_of(loaded), []
    delta, dense = Cost.none(net), Cost.none(net)
    words = [(clip, features_of(loaded, clip.path)) for clip in clips()]
    with loaded_board(board, lanes, loaded) as device, progress("streaming", json) as step:
        if not json:
            _print_head(model, loaded, device.design.lanes)
        device.stop = loaded.stop
        dense_clips = costs_of_dense_clips(device, [frames for _, frames in words])
        for clip, frames in words:
            heard, full = hear(device, frames, loaded), dense_clips[len(frames)]
            delta, dense = delta + heard.cost, dense + full
            expected = expected_label(clip.word, loaded.labels)
            right = None if expected is None else heard.label == expected
            rows.append({"word": clip.word, "voice": clip.voice, "decided": heard.label, "right": right,
                         "confidence": heard.confidence, **heard.to_dict(frontend),
                         **_against_dense(heard.cost, full, net)})
            if not json:
                at = heard.when(frontend, "{:>8} of {:.2f} s") if loaded.stop else ""
                out.print(Text.assemble(_MARKS[right], f" {clip.word:10}{heard.label:10}{heard.confidence:5.0%}{at}"
                                        + _cost_columns(heard.cost, full, net)))
            step(len(rows), len(words))
    right, judged = sum(r["right"] is True for r in rows), sum(r["right"] is not None for r in rows)
    frames_used = sum(r["frames_used"] for r in rows) / len(rows)
    if json:
        return print_json({"model": model, "lanes": device.design.lanes, "clips": rows, "totals": {
            "clips": len(rows), "judged": judged, "right": right, "frames_used": frames_used,
            **_against_dense(delta, dense, net)}})
    used = f"{frames_used:12.0%} of it" if loaded.stop else ""
    out.print(f"  {'all':10}{f'{right}/{judged} right':15}{used}"
              + _cost_columns(delta, dense, net), style="bold")
    ratios, where = comparison(delta, dense, net), "over the whole clips" if loaded.stop else "on the same frames"
    out.print(f"\nAll in all {ratio_text(ratios['speedup'])} fewer cycles and {ratio_text(ratios['fetch_reduction'])} "
              f"fewer weights than the same core in dense mode {where}.")


def _against_dense(cost: Cost, full: Cost, net: "Network") -> dict:
    return {**cost.to_dict(net), "dense_cycles": full.cycles, "dense_weight_words": full.weight_words,
            **comparison(cost, full, net)}


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


def run(files: Annotated[list[Path], typer.Argument(help="Sound files: WAV, FLAC, Ogg, MP3.", show_default=False)],
        model: ModelOption = "commands", board: BoardOption = "virtual", lanes: LanesOption = None,
        dense: Annotated[bool, typer.Option("--dense", help="Dense mode: every element is sent.")] = False,
        theta: ThetaOption = 1.0, early: EarlyOption = False, margin: MarginOption = None,
        json: JsonOption = False) -> None:
    """Stream recordings of one word each through a board and print what each was decided to be.

    That is the label of its last frame, or of the frame 0.2 s after the word, if more than 0.5 s of silence follow it;
    or, early, of the first frame in which the best label leads by enough.  Of a model that listens it is the keyword
    that leads by most in any frame, if one does.
    """
    from tidegate.host.features import features_of, settings_of

    loaded = _loaded(model, theta, early, margin)
    net, frontend, rows = loaded.network, settings_of(loaded), []
    sounds = [(path, features_of(loaded, path)) for path in files]
    for path, frames in sounds:
        _check_length(path, frames, frontend)
    with loaded_board(board, lanes, loaded) as device, progress("streaming", json) as step:
        device.dense, device.stop = dense, loaded.stop
        width = max(len(str(path)) for path in files)
        for path, frames in sounds:
            heard = hear(device, frames, loaded)
            rows.append({"file": str(path), "decided": heard.label, "confidence": heard.confidence,
                         **heard.to_dict(frontend), **heard.cost.to_dict(net)})
            if not json:
                cost = heard.cost
                occupancy = "/".join(f"{x:.1%}" for x in cost.occupancy(net))
                at = heard.when(frontend, "at {:>4} of {:.2f} s  ") if loaded.stop else ""
                out.print(Text.assemble(
                    f"{path!s:{width}}  ", (f"{heard.label:10}", "bold"), f" {heard.confidence:4.0%}  "
                    f"{at}occupancy {occupancy}  {cost.frames} frames  {cost.cycles / cost.frames:.0f} cycles/frame  "
                    f"{cost.weight_words / cost.frames:.0f} weight words/frame"), soft_wrap=True)
            step(len(rows), len(sounds))
    if json:
        print_json({"model": model, "lanes": device.design.lanes, "thresholds": list(net.thresholds), "dense": dense,
                    "files": rows})
