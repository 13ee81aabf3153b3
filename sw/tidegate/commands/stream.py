"""The verb ``stream``: a model that listens all the time, on hours of continuous sound made from recordings."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tidegate.host.detector import DetectorSettings
from tidegate.host.figures import ratio_text
from tidegate.spec.errors import TidegateError

from .boards import loaded_board
from .console import JsonOption, LanesOption, hint_at_extras, out, print_json, progress
from .models import ModelArgument

PROTOCOLS = ("hours", "mlperf")


def stream(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of words.", show_default=False)],
    negative: Annotated[list[Path], typer.Option(
        "--negative", help="Folder tree of continuous speech without keywords; may be repeated.",
        show_default=False)] = [],  # noqa: B006
    other: Annotated[list[Path], typer.Option(
        "--other", help="Folder tree of clips of other words, beside those in --data; may be repeated.",
        show_default=False)] = [],  # noqa: B006
    noise: Annotated[list[Path], typer.Option(
        "--noise", help="Folder tree of noise, played on its own and under everything; may be repeated.",
        show_default=False)] = [],  # noqa: B006
    rooms: Annotated[Path | None, typer.Option(
        "--rooms", help="Folder of room impulse responses: misses in a room, too.", show_default=False)] = None,
    kept_apart: Annotated[bool, typer.Option(
        "--kept-apart", help="Of the files in --negative, --other and --noise, only those that `tidegate train` keeps "
        "for validation: one in ten.")] = False,
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=1000, help="Hours of sound per seed.")] = 1.0,
    part: Annotated[str, typer.Option(
        "--part", help="Part of --data: validation, test, or all (for data that trained nothing).")] = "validation",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first stream.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Number of streams, each with its seed.")] = 1,
    threshold: Annotated[float | None, typer.Option(
        "--threshold", help="Probability above which the detector reports a word (default: the model's own).",
        show_default=False)] = None,
    snr: Annotated[tuple[float, float] | None, typer.Option(
        "--snr", metavar="LOW HIGH", help="Range of the signal-to-noise ratio of a typical word over the background, "
        "in dB (default: 10 40).")] = None,
    theta: Annotated[list[float], typer.Option(
        "--theta", min=0.0, max=1000.0, help="Factor on the network's thresholds Θ; give it several times to compare "
        "misses and cost.")] = [1.0],  # noqa: B006
    conditions: Annotated[bool, typer.Option(
        "--conditions/--no-conditions", help="Score misses by signal-to-noise ratio and room as well.")] = True,
    rtl: Annotated[float, typer.Option(
        "--rtl", metavar="MINUTES", min=0, help="Compare this many minutes of the stream with the virtual board.",
        show_default=False)] = 0.0,
    lanes: LanesOption = None,
    protocol: Annotated[str, typer.Option(
        "--protocol", help="hours, or mlperf: one wake word in the manner of MLPerf Tiny's streaming benchmark, "
        "unofficial.")] = PROTOCOLS[0],
    plot: Annotated[Path | None, typer.Option(
        "--plot", metavar="FILE", help="Draw the curve and the cost, as .svg, .png or .pdf.",
        show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Misses, false accepts per hour, delay and cost on continuous sound, by the golden model.

    docs/streams.md explains how a stream is made and judged.
    """
    from tidegate import load_model

    loaded = load_model(model)
    settings = DetectorSettings.of(loaded)
    if threshold is not None:
        settings = replace(settings, threshold=threshold)
    if not rtl < 1e6:
        raise TidegateError(f"--rtl is a number of minutes, not {rtl:g}")
    if protocol not in PROTOCOLS:
        raise TidegateError(f"there is no protocol '{protocol}'; choose {' or '.join(PROTOCOLS)}")
    given = {"--other": other, "--rooms": rooms, "--hours": hours != 1.0, "--snr": snr, "--theta": theta != [1.0],
             "--no-conditions": not conditions, "--rtl": rtl, "--plot": plot}
    if protocol != PROTOCOLS[0] and (useless := [name for name, value in given.items() if value]):
        raise TidegateError(f"the protocol '{protocol}' has its own streams; leave {', '.join(useless)} out")
    if plot:
        from .plot import check_plot

        check_plot(plot)
    with hint_at_extras():
        from tidegate.train.data.material import in_validation
        from tidegate.train.data.soundscape import Scene, Sources

        scene = Scene() if snr is None else replace(Scene(), snr_db=snr)
        sources = Sources.of(negative, noise, other, rooms, in_validation if kept_apart else None)
        many = range(seed, seed + seeds)
        if protocol == "mlperf":
            from tidegate.train.judge.wakeword import wake_word

            with progress("listening", not json) as step:
                report = wake_word(loaded, data, sources, part, many, settings, step)
            return print_json(report) if json else _print_wake_word(report)
        from tidegate.train.judge.scoring import Job, compare_board

        job = Job.make(loaded, data, part, hours, many, settings, scene, sources, conditions)
        with progress("listening", not json) as step:
            report = job.score(theta, step)
    if rtl:
        with loaded_board("virtual", lanes, loaded) as board, progress("simulating", not json) as step:
            report["rtl"] = compare_board(board, loaded, job.streams[0], rtl, settings, step)
    print_json(report) if json else _print(report)
    if plot:
        from tidegate.train.judge.stream_plot import draw_stream

        try:
            draw_stream(report, plot)
        except OSError as error:
            raise TidegateError(f"'{plot}' cannot be written ({error.strerror}); choose another place") from None
    if rtl and (first := report["rtl"]["first"]):
        raise TidegateError(f"the virtual board differs from golden, first in frame {first['frame']} of track "
                            f"{first['track']}; `tidegate verify` names the place")


def _print_wake_word(report: dict) -> None:
    out.print(f"Unofficial, in the manner of MLPerf Tiny's streaming wake word: '{report['word']}', {report['part']} "
              f"part, {report['minutes']:g} minutes per stream, {report['music']} in place of music",
              soft_wrap=True)
    table = Table("seed", "words", "different clips", "misses", "false accepts")
    for s in report["streams"]:
        table.add_row(*(str(s[name]) for name in ("seed", "words", "clips", "misses", "false_accepts")))
    out.print(table)
    miss, false = report["misses"], report["false_accepts"]
    out.print(f"Mean: {miss['mean']:.1f} misses and {false['mean']:.1f} false accepts per stream "
              f"({report['allowed']} of each are allowed: {'passed' if report['passed'] else 'not passed'})",
              style="bold")


def _print(report: dict) -> None:
    scene = report["scene"]
    seeds = ", ".join(map(str, report["seeds"]))
    at = "none" if scene["snr_db"] is None else "{:g} to {:g} dB below a typical word".format(*scene["snr_db"])
    out.print(f"{report['part']}, seed {seeds}: {report['hours']:.2f} h in {report['streams']} streams, "
              f"{report['keywords']} keywords, {report['unknown_words']} other words, "
              f"{report['noise']} noise {at}", soft_wrap=True)
    for name, p in report["played"].items():
        out.print(f"  {name}: {p['played_hours']:.2f} h of {p['hours']:.2f} h in {p['recordings']} recordings")
    if report["absent"]:
        out.print(f"Not in the data: {', '.join(report['absent'])}")
    _curve(report)
    _kinds(report["kinds"])
    if conditions := report.get("conditions"):
        _conditions(conditions)
    _cost(report)
    (low, high), (least, most) = report["miss_interval"], report["false_accepts_interval"]
    out.print(f"At {report['threshold']:g}: {report['hits']} of {report['keywords']} keywords detected, "
              f"{_percent(report['miss_rate'])} missed ({low:.1%} to {high:.1%}), "
              f"{report['false_accepts_per_hour']:.1f} false accepts per hour ({least:.1f} to {most:.1f}), "
              f"{_percent(report['wrong_rate'])} wrong answers to keywords, "
              f"fetch reduction {ratio_text(report['cost']['all']['fetch_reduction'])}", style="bold", soft_wrap=True)
    if best := report["at_rate"]:
        low, high = best["false_accepts_interval"]
        out.print(f"At most one false accept per hour: {_percent(best['miss_rate'])} missed, at a threshold of "
                  f"{best['threshold']:.6g}, read off this curve ({sum(best['false_accepts'].values())} false accepts "
                  f"here, so {low:.2g} to {high:.2g} per hour)", soft_wrap=True)
    else:
        out.print("No threshold of the curve comes to one false accept per hour")
    if len(report["seeds"]) > 1:
        miss, false = report["spread"]["miss_rate"], report["spread"]["false_accepts_per_hour"]
        out.print(f"Over seeds: {miss['mean']:.1%} ± {miss['std']:.1%} missed, {false['mean']:.1f} ± "
                  f"{false['std']:.1f} false accepts per hour")
    if r := report.get("rtl"):
        out.print(f"Virtual board, {r['lanes']} lanes: {r['minutes']:.1f} minutes, {r['frames']} frames, "
                  f"{r['logits_differ']} with another logit; {r['detections']} detections, "
                  f"{r['detections_differ']} of them other")
    if report["skipped"]:
        path, reason = report["skipped"][0]
        out.print(f"{len(report['skipped'])} recordings could not be used, the first: "
                  f"{reason if path in reason else f'{path}, {reason}'}", soft_wrap=True)


def _curve(report: dict) -> None:
    kinds = [kind for kind in report["false_accepts"] if any(row["false_accepts"][kind] for row in report["curve"])]
    table = Table("margin", "threshold", "missed (95 %)", "false accepts/h (95 %)", *kinds, "wrong", "after end, s",
                  title="Misses against false accepts per hour without keywords, and their number by kind; wrong "
                        "answers to keywords, per keyword; delay: median and 95 %; *: the model's own threshold")
    for row in report["curve"]:
        (low, high), (least, most) = row["miss_interval"], row["false_accepts_interval"]
        own = row["threshold"] == report["threshold"]
        table.add_row(f"{row['margin']:.2f}{'*' * own}", f"{row['threshold']:.6g}",
                      f"{_percent(row['miss_rate'])} ({100 * low:.1f}..{100 * high:.1f})",
                      f"{row['false_accepts_per_hour']:.2f} ({least:.2f}..{most:.2f})",
                      *(str(row["false_accepts"][kind]) for kind in kinds), _percent(row["wrong_rate"]),
                      _delays(row["delay_from_end_s"]),
                      style="bold" if own else None)
        if row["misses"] == row["keywords"]:
            break
    out.print(table)


def _kinds(kinds: dict) -> None:
    table = Table("while", "hours", "false accepts", "per hour of it", "95 %",
                  title="False accepts by kind, at the detector's threshold")
    for name, k in kinds.items():
        low, high = k["interval"]
        table.add_row(name, f"{k['hours']:.2f}", str(k["false_accepts"]), f"{k['per_hour']:.1f}",
                      f"{low:.1f}..{high:.1f}")
    out.print(table)


def _conditions(lines: list[dict]) -> None:
    table = Table("SNR", "room", "keywords", "missed", "95 %", title="Misses at the detector's threshold")
    for c in lines:
        low, high = c["miss_interval"]
        table.add_row("clean" if c["snr_db"] is None else f"{c['snr_db']:g} dB", "yes" if c["room"] else "no",
                      str(c["keywords"]), _percent(c["miss_rate"]), f"{low:.1%}..{high:.1%}")
    out.print(table)


def _cost(report: dict) -> None:
    cost = report["cost"]
    table = Table("sound", "hours", "weights/s", f"weight words/s, {cost['lanes']} lanes", "fetch reduction",
                  title=f"Fetches; a dense network reads {cost['dense_weights_per_second']:.0f} weights per second")
    rows = {"all": cost["all"], **cost["kinds"], "day-like mix": cost["day"]}
    for name, c in rows.items():
        if c:
            hours = report["hours"] if name == "all" else c.get("hours")
            table.add_row(name, "-" if hours is None else f"{hours:.2f}", f"{c['weights_per_second']:.0f}",
                          f"{c['weight_words_per_second']:.0f}", ratio_text(c["fetch_reduction"]))
    out.print(table)
    if len(report["thetas"]) > 1:
        table = Table("Θ ×", "missed", "false/h", "missed at 1/h", "weights/s", "fetch reduction",
                      title="Thresholds of the network: quality against cost")
        for t in report["thetas"]:
            best, fetched = t["at_rate"], t["cost"]["all"]
            table.add_row(f"{t['factor']:g}", _percent(t["miss_rate"]), f"{t['false_accepts_per_hour']:.2f}",
                          _percent(best and best["miss_rate"]), f"{fetched['weights_per_second']:.0f}",
                          ratio_text(fetched["fetch_reduction"]))
        out.print(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _delays(delay: dict) -> str:
    return "-" if delay["median"] is None else f"{delay['median']:.2f}, {delay['p95']:.2f}"
