"""A model card in Markdown from what a model file says: ``python -m tidegate.train.publish.card MODEL > CARD.md``.

``tidegate train`` writes recipe and figures into a model's card; ``release.py`` adds what other runs found:
seeds, words left out, a stream, the comparison with the RTL.
"""

import sys
from pathlib import Path

from tidegate.host.figures import ratio_text
from tidegate.spec.errors import TidegateError
from tidegate.spec.model import Model, read_model

from ..data.split import JUDGED, UNSEEN
from ..judge.stat import spread
from ..study.early import group_name, margin_text

_PARTS = JUDGED[::-1]          # first what chose nothing
_OPTIONS = {"speech": "--speech", "words": "--other-words", "keywords": "--more-keywords",
            "noise": "--noise", "rooms": "--rooms"}


def card(model: Model, name: str, size: int) -> str:
    """Markdown; ``size``: bytes of the model file.  TidegateError if the model was not trained with a recipe."""
    if "recipe" not in model.card:
        raise TidegateError(f"the model '{name}' has no training card; only models from `tidegate train` have one")
    recipe = model.card["recipe"]
    sections = [
        [f"# {name}", "", recipe["about"]], _facts(model, size), _figures(model), _turned(model), _runs(model),
        _early(model),
        _speakers(model), _unseen(model), _detector(model), _stream(model), _wake_word(model), _verified(model),
        _training(model, name),
        ["## Not good for", "", *(f"- {x}" for x in recipe["limits"])],
    ]
    return "\n".join("\n".join([*lines, ""]) for lines in sections if lines)


def _facts(model: Model, size: int) -> list[str]:
    net, frontend = model.network, model.card["recipe"]["frontend"]
    return [
        "| | |", "|---|---|",
        f"| classes | {', '.join(model.labels)} |",
        f"| features | {net.features} log-mel bands, {frontend['low_hz']:g}-{frontend['high_hz']:g} Hz, window "
        f"{frontend['window_ms']:g} ms, hop {frontend['hop_ms']:g} ms, {frontend['sample_rate']} samples/s |"
        if model.frontend else f"| features | {net.features} of the task {model.card['recipe']['task']} |",
        f"| network | delta-{net.shape}, "
        f"{net.widths} weights, {net.dense_weights} weights a dense frame |",
        f"| thresholds Θ | {', '.join(f'{t}/256' for t in net.thresholds)} (features, then each layer) |",
        *([] if model.stop is None else [f"| stop rule | {_rule(model)} |"]),
        f"| size | {net.weight_bytes} bytes of weights, {size} bytes in all; digest `{model.digest[:16]}` |",
    ]


def _figures(model: Model) -> list[str]:
    figures = [model.card[part] for part in _PARTS if part in model.card]
    rows = [f"| {f['part']} | {f['utterances']} | {f['accuracy']:.2%} | {ratio_text(f['fetch_reduction'], 2)} | "
            f"{f['weights'] / f['frames']:.0f} | {f['temporal_sparsity']:.2%} | "
            f"{', '.join(f'{o:.3f}' for o in f['occupancy'])} |" for f in figures]
    early = all("frames_used" in f for f in figures)
    how = ("by the stop rule" if early else "at a clip's last frame" if model.detector is None else
           "by the keyword that leads by most in any frame of a clip, if one does")
    used = [] if not early else ["", *(
        f"Decided early ({f['part']}): {f['decided']:.1%} of the clips met the rule, the others were decided at their "
        f"end; on average after {f['frames_used']:.1%} of the frames; {f['weight_words_per_decision']:.0f} weight "
        f"words a decision on {f['lanes']} lanes, {ratio_text(f['decision_reduction'])} fewer weights than a dense "
        "network reads over the whole clips." for f in figures)]
    recall = ", ".join(f"{label} {r:.1%}" for label, r in figures[0]["recall"].items() if r is not None)
    return [
        "## Figures of this model", "",
        f"Golden model, decision {how}; integers, so the same on any board.", "",
        "| part | clips | accuracy | fetch reduction | weights read a frame | temporal sparsity | "
        "occupancy per signal |", "|---|---|---|---|---|---|---|", *rows, *used,
        "", f"Recall by class ({figures[0]['part']}): {recall}.",
    ]


def _rule(model: Model) -> str:
    assert model.stop is not None
    never = "" if model.stop.classes is None else f", never {' or '.join(model.labels[model.stop.classes:])}"
    hold = f", not in the first {model.stop.hold} frames" if model.stop.hold else ""
    return (f"decided at the first frame in which the best logit leads by more than {model.stop_margin:g} "
            f"({model.stop.margin} LSBs of the classifier's weights){never}{hold}")


def _early(model: Model) -> list[str]:
    """Accuracy and frames used at other margins, beside the other runs of the sweep."""
    groups = model.card.get("early")
    if not groups:
        return []
    part = next(part for part in _PARTS if groups[0].get(f"{part}_accuracy") is not None)
    lines = [f"## Deciding early (`tidegate sweep {model.card['sweep']}`)", "",
             f"All seeds, at other margins ({part} part); mean ± standard deviation over n runs. This model is the run "
             "with the best validation accuracy.", "",
             "| runs | margin | n | accuracy | frames used | fewer weights than dense whole clips |",
             "|---|---|---|---|---|---|"]
    for g in groups:
        lines.append(f"| {group_name(g)} | {margin_text(g['margin'])} | {g['n']} | "
                     f"{spread(g[f'{part}_accuracy'], g[f'{part}_accuracy_std'])} | "
                     f"{spread(g[f'{part}_frames_used'], g[f'{part}_frames_used_std'])} | "
                     f"{ratio_text(g[f'{part}_decision_reduction'])} |")
    return lines


def _turned(model: Model) -> list[str]:
    """What turning Θ at run time does, if it was measured."""
    rows = model.card.get("turned")
    if not rows:
        return []
    part = next(part for part in _PARTS if rows[0].get(f"{part}_accuracy") is not None)
    return ["## Turning Θ at run time", "", f"The same weights, all Θ multiplied ({part}):", "",
            "| factor | accuracy | fetch reduction |", "|---|---|---|",
            *(f"| {r['factor']:g} | {r[f'{part}_accuracy']:.2%} | {ratio_text(r[f'{part}_fetch_reduction'], 2)} |"
              for r in rows)]


def _runs(model: Model) -> list[str]:
    """Mean and standard deviation over seeds, of this recipe and of those beside it in the sweep."""
    runs = model.card.get("runs")
    if not runs:
        return []
    parts = [part for part in _PARTS if any(r.get(f"{part}_accuracy") is not None for r in runs)]
    lines = [f"## Seeds (`tidegate sweep {model.card['sweep']}`)", "",
             "Mean ± standard deviation over n runs; this model is the one of them that is best by validation.", "",
             "| runs | Θ | n | " + " | ".join(f"{p} accuracy | {p} fetch reduction" for p in parts) + " |",
             "|---|---|---|" + "---|---|" * len(parts)]
    for r in runs:
        theta = "learned" if r["theta"] is None else ", ".join(f"{t}/256" for t in r["theta"])
        cells = [f"{spread(r[f'{p}_accuracy'], r[f'{p}_accuracy_std'])} | {ratio_text(r[f'{p}_fetch_reduction'], 2)}"
                 for p in parts]
        lines.append(f"| {r['label'] or 'this recipe'} | {theta} | {r['n']} | " + " | ".join(cells) + " |")
    return lines


def _speakers(model: Model) -> list[str]:
    """One speaker left out at a time."""
    runs = model.card.get("speakers")
    return [] if not runs else [
        "## A voice that was never heard", "",
        "One speaker left out at a time, who then is the test part; mean ± standard deviation over the speakers:", "",
        "| runs | n | accuracy | fetch reduction |", "|---|---|---|---|",
        *(f"| {r['label'] or 'this recipe'} | {r['n']} | {spread(r['test_accuracy'], r['test_accuracy_std'])} | "
          f"{ratio_text(r['test_fetch_reduction'], 2)} |" for r in runs)]


def _unseen(model: Model) -> list[str]:
    """How a twin of this model, trained without some words, takes them."""
    twin = model.card.get("left_out") or (model.card if UNSEEN in model.card else None)
    if twin is None:
        return []
    f, words = twin[UNSEEN], ", ".join(twin["recipe"]["leave_out"])
    lines = ["## Words that were never heard", "",
             f"Trained without {words} (same recipe, seed {twin['recipe']['seed']}): of their {f['utterances']} clips "
             f"{f['rejected']:.1%} were taken for no keyword. Validation accuracy of that twin: "
             f"{twin['validation']['accuracy']:.2%}."]
    if told := twin.get("rejection"):
        lines.append(f"Its bias of `unknown` ({told['bias']:+.2f}, chosen on the validation part) turned the keywords' "
                     f"recall from {told['recall_before']:.2%} to {told['recall']:.2%}.")
    return lines


def _detector(model: Model) -> list[str]:
    """The rule by which the model listens, and where its threshold comes from."""
    rule, chosen = model.detector, model.card.get("detector")
    if rule is None or not chosen:
        return []
    hop = model.card["recipe"]["frontend"]["hop_ms"]
    return ["## Detector", "", (
        f"Logits smoothed over about {2**rule.smooth} frames; a keyword is detected when it leads by more than "
        f"{chosen['margin']:g} (a threshold of {chosen['threshold']:.4g}), and no other within {rule.hold * hop:.0f} "
        f"ms after that. The threshold is the lowest with at most {chosen['wanted_per_hour']:g} false accepts per hour "
        f"on {chosen['hours']:.1f} h of streams made from the validation part, where {_percent(chosen['misses'])} of "
        f"{chosen['keywords']} keywords are missed ({chosen['per_hour']:.2f} false accepts per hour). What is "
        "reported below is another part.")]


def _stream(model: Model) -> list[str]:
    """The always-on score, as ``scoring.brief`` of `tidegate stream --json` gives it."""
    s = model.card.get("stream")
    if not s:
        return []
    if "seeds" not in s:
        return _stream_before(s)
    at = "no noise" if s["scene"]["snr_db"] is None else "noise {:g} to {:g} dB below a typical word".format(
        *s["scene"]["snr_db"])
    cost, played = s["cost"], [
        f"{sum(p['played_hours'] for _, p in some):.1f} h of {kind} ({', '.join(source for source, _ in some)})"
        for kind in ("speech", "noise")
        if (some := [(n.partition("/")[2], p) for n, p in s["played"].items() if n.startswith(kind)])]
    (low, high), (least, most) = s["miss_interval"], s["false_accepts_interval"]
    lines = [
        "## In a stream (`tidegate stream`, [docs/streams.md](../../../docs/streams.md))", "",
        f"{s['hours']:.1f} h of continuous sound made from {s['part']} clips, seeds {', '.join(map(str, s['seeds']))}: "
        f"{s['keywords']} keywords, {s['unknown_words']} other words, {', '.join(played) or 'no continuous speech'}, "
        f"{at}.", "",
        f"At the detector's threshold of {s['threshold']:.6g}: {_percent(s['miss_rate'])} of the keywords missed "
        f"({_percent(low)} to {_percent(high)}), {s['false_accepts_per_hour']:.2f} false accepts per hour "
        f"({least:.2f} to {most:.2f}), and {_percent(s['wrong_rate'])} of them answered wrongly (another word, twice "
        "or late). A false accept is a detection where no keyword was said, per hour without keywords. Intervals are "
        "exact, of 95 %.", "",
        "| margin | threshold | keywords missed | 95 % | false accepts per hour | 95 % | "
        "median delay from a word's end |",
        "|---|---|---|---|---|---|---|", *(
            f"| {r['margin']:.2f} | {r['threshold']:.6g} | {_percent(r['miss_rate'])} | "
            f"{_percent(r['miss_interval'][0])} to {_percent(r['miss_interval'][1])} | "
            f"{r['false_accepts_per_hour']:.2f} | {r['false_accepts_interval'][0]:.2f} to "
            f"{r['false_accepts_interval'][1]:.2f} | {_after(r, 'end')} |" for r in s["curve"] if r["miss_rate"] != 1),
        "", "| while | hours | false accepts per hour of it | 95 % |", "|---|---|---|---|", *(
            f"| {name} | {k['hours']:.2f} | {k['per_hour']:.1f} | {k['interval'][0]:.1f} to {k['interval'][1]:.1f} |"
            for name, k in s["kinds"].items())]
    if conditions := s.get("conditions"):
        lines += ["", "| SNR | in a room | keywords missed | 95 % |", "|---|---|---|---|", *(
            f"| {'clean' if c['snr_db'] is None else format(c['snr_db'], 'g') + ' dB'} | {'yes' if c['room'] else 'no'}"
            f" | {_percent(c['miss_rate'])} | {_percent(c['miss_interval'][0])} to {_percent(c['miss_interval'][1])} |"
            for c in conditions)]
    rows = {"all": cost["all"], **cost["kinds"], "day-like mix": cost["day"]}
    return [*lines, "", f"| sound | weights per second | weight words per second, {cost['lanes']} lanes | "
            "fetch reduction |", "|---|---|---|---|", *(
                f"| {name} | {c['weights_per_second']:.0f} | {c['weight_words_per_second']:.0f} | "
                f"{ratio_text(c['fetch_reduction'])} |" for name, c in rows.items() if c)]


def _stream_before(s: dict) -> list[str]:
    """A score of an earlier version, with its own detector."""
    (low, high), delay = s["scene"]["snr_db"], s["delay_from_end_s"]
    return [
        "## In a stream", "",
        "Measured with the detector of an earlier version, which smoothed probabilities over 16 frames; "
        "`tidegate stream` scores the model with today's.", "",
        f"{s['hours']:.2f} h of continuous sound made from {s['part']} clips (seed {s['seed']}; {s['keywords']} "
        f"keywords, {s['unknown_words']} other words, no continuous speech, noise {low:g} to {high:g} dB below a "
        f"typical word), in {s['streams']} streams. At a threshold of {s['threshold']:g}: "
        f"{_percent(s['hit_rate'])} of the keywords detected, {s['false_accepts_per_hour']:.1f} false accepts per "
        f"hour, median delay {delay['median']:.2f} s after a word's end; fetch reduction "
        f"{ratio_text(s['cost']['fetch_reduction'])}.", "",
        "| threshold | keywords detected | false accepts per hour | median delay from a word's start | from its end |",
        "|---|---|---|---|---|", *(
            f"| {row['threshold']:g} | {_percent(row['hit_rate'])} | {row['false_accepts_per_hour']:.1f} | "
            f"{_after(row, 'start')} | {_after(row, 'end')} |" for row in s["curve"])]


def _after(row: dict, point: str) -> str:
    median = row[f"delay_from_{point}_s"]["median"]
    return "-" if median is None else f"{median:.2f} s"


def _wake_word(model: Model) -> list[str]:
    """The score of `tidegate stream --protocol mlperf --json`."""
    w = model.card.get("wake_word")
    if not w:
        return []
    miss, false = w["misses"], w["false_accepts"]
    return [
        "## As a wake word (`tidegate stream --protocol mlperf`)", "",
        f"Unofficial, in the manner of MLPerf Tiny's streaming wake word, on {len(w['streams'])} streams of "
        f"{w['minutes']:g} minutes made here ({w['part']} part, {w['music']} in place of music), each with "
        f"{w['streams'][0]['words']} times '{w['word']}': {miss['mean']:.1f} misses and {false['mean']:.1f} false "
        f"accepts per stream in the mean, {miss['most']} and {false['most']} at most. The benchmark allows "
        f"{w['allowed']} of each."]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _verified(model: Model) -> list[str]:
    """The comparison with the RTL, as `tidegate verify --json` gave it."""
    v = model.card.get("verified")
    decided = f", {v['decisions']} decisions, and {v['frames_not_run']} frames not run after one" if v and v.get(
        "decisions") else ""
    return [] if not v else ["## The same integers", "", (
        f"Golden against RTL (simulated, {', '.join(map(str, v['lanes']))} lanes): {v['frames']} frames at "
        f"{len(v['thresholds'])} settings of Θ, every accumulator, state, event count, weight word count and logit"
        f"{decided}: {v['mismatches']} mismatches.")]


def _training(model: Model, name: str) -> list[str]:
    recipe, clips = model.card["recipe"], model.card["clips"]
    seconds = model.card.get("seconds")
    lines = ["## Training", "",
             f"- Clips: {clips['train']} to train, {clips['validation']} to validate, {clips['test']} to test; "
             f"{model.card['skipped']} unreadable ones skipped.",
             f"- Seed {recipe['seed']}; best epoch by validation: {model.card['epoch']} of {recipe['epochs']}."]
    if seconds:
        lines.append(f"- It took {seconds / 60:.0f} min on one core, other work beside it.")
    if begun := model.card.get("from"):
        lines.append(f"- Began with the weights of another model (`--from`), digest `{begun[:16]}`.")
    if recipe["leave_out"]:
        lines.append(f"- Left out: {', '.join(recipe['leave_out'])}.")
    if sources := model.card.get("sources"):
        lines.append("- Sound beside the words: " + "; ".join(
            f"{kind}: {', '.join(folders)}" for kind, folders in sources.items()) + ".")
    options = "".join(f" {_OPTIONS[kind]} ..." for kind in sources or ())
    return [*lines, f"- Command: `tidegate train DATA --recipe {recipe['name']}{options} --out {name}.tidegate`, "
            f"recipe in `{name}.json`.", f"- Data: {recipe['attribution']}"]


def main() -> int:
    if len(sys.argv) != 2:
        print("use: python -m tidegate.train.publish.card MODEL", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    try:
        print(card(read_model(path), path.stem, path.stat().st_size), end="")
    except TidegateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
