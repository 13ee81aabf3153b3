"""The verb ``listen``: words as they are spoken, from a microphone, a pipe or a file."""

import json as jsons
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .boards import loaded_board
from .console import BoardOption, LanesOption, ModelOption, err, out, print_json
from .live import LiveLine

if TYPE_CHECKING:
    from tidegate.host.listen import Totals, Word
    from tidegate.host.sources import Notice, SoundSource


def listen(
    source: Annotated[str | None, typer.Argument(
        help="A sound file, or - for raw PCM or a WAV on standard input.", show_default="the microphone")] = None,
    model: ModelOption = "commands", board: BoardOption = "virtual", lanes: LanesOption = None,
    threshold: Annotated[float | None, typer.Option(
        "--threshold", help="Probability from which a word is reported, 0.5 to below 1.",
        show_default="the model's")] = None,
    device: Annotated[str | None, typer.Option(
        "--device", help="Microphone: number or part of a name, see --list-devices.",
        show_default="the default")] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the microphones and exit.")] = False,
    fast: Annotated[bool, typer.Option(
        "--fast", help="Process a file or pipe as fast as the board can; no sound is dropped.")] = False,
    format: Annotated[str, typer.Option(
        "--format", help="Sample format of raw PCM on standard input: S16_LE, S32_LE or F32_LE.")] = "S16_LE",
    rate: Annotated[int, typer.Option("--rate", help="Samples per second of raw PCM on standard input.")] = 16000,
    channels: Annotated[int, typer.Option("--channels", help="Channels of raw PCM on standard input, 1 or 2.")] = 1,
    execute: Annotated[str | None, typer.Option(
        "--exec", metavar="CMD", help="Run this for each word, without a shell; the word is in $TIDEGATE_WORD.",
        show_default=False)] = None,
    record: Annotated[Path | None, typer.Option(
        "--record", metavar="DIR", help="Write a WAV of 2 s around each word to this folder.",
        show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Listen all the time, and print each word as it comes: time, word, confidence.

    An unplugged board or microphone is reported and opened again when it is back.  Ctrl-C ends it with an account.
    """
    if list_devices:
        return _print_devices(json)
    from tidegate import load_model
    from tidegate.host.detector import listening_stop
    from tidegate.host.features import settings_of
    from tidegate.host.listen import Listener
    from tidegate.host.recorder import Recorder
    from tidegate.host.runner import Runner

    loaded = load_model(model)
    frontend = settings_of(loaded)
    listening_stop(loaded, threshold=threshold)        # what cannot be detected needs no board
    wanted = _source(source, device, fast, format, rate, channels, frontend.sample_rate)
    with ExitStack() as stack:
        report = Report(json)
        recorder = None if record is None else Recorder(record, frontend, report.notice)
        runner = None if execute is None else Runner(execute, report.notice)
        stack.callback(wanted.close)
        wanted.open(threading.Event())          # what cannot be heard needs no board
        opened = stack.enter_context(loaded_board(board, lanes, loaded))
        stop = stack.enter_context(stopped_by_signals())        # until here Ctrl-C is that of every verb
        if not json and err.is_terminal:
            report.live = LiveLine(loaded, err)
        stack.callback(report.hide)

        def watch(heard) -> None:
            if recorder is not None:
                recorder.heard(heard)
            if report.live is not None:
                report.watch(heard)

        listener = Listener(opened, wanted, fast=fast, threshold=threshold, notice=report.notice, watch=watch,
                            stop=stop)
        try:
            for word in listener:
                report.word(word)
                if runner is not None:
                    runner.run(word)
        finally:
            if recorder is not None:
                recorder.close()
            if runner is not None:
                runner.close()
            if listener.totals.delivered:
                report.summary(listener.totals)


def _source(source: str | None, device: str | None, fast: bool, format: str, rate: int, channels: int,
            model_rate: int) -> "SoundSource":
    from tidegate.host.pcm import PcmPipe
    from tidegate.host.sources import SoundFile
    from tidegate.spec.errors import TidegateError

    if source is None:
        from tidegate.host.microphone import Microphone

        if fast:
            raise TidegateError("a microphone cannot be heard faster; give a file or leave --fast out")
        return Microphone(device, model_rate)
    if device is not None:
        raise TidegateError("--device chooses a microphone; leave it out, or leave the file out")
    if source != "-" and (format, rate, channels) != ("S16_LE", 16000, 1):
        raise TidegateError("--format, --rate and --channels are of raw PCM on standard input; a file says what it "
                            "holds: leave them out")
    if source == "-":
        return PcmPipe(0, format, rate, channels, fast)
    return SoundFile(source, fast)


def _print_devices(json: bool) -> None:
    from tidegate.host.microphone import microphones

    found = microphones()
    if json:
        return print_json([asdict(m) for m in found])
    for m in found:
        out.print(f"{m.number:3}  {m.name}  ({m.channels} channels, {m.rate:g} Hz){'  default' * m.default}",
                  soft_wrap=True)
    if not found:
        out.print("No microphones found; plug one in to see it here.")


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set; a second Ctrl-C interrupts at once.

    What was ignored stays ignored, as under nohup.
    """
    stop, before = threading.Event(), {}

    def handle(number, frame) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    try:
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if number not in before and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Report:
    """What is printed: words and, as JSON, notices on standard output; as text, notices on standard error.

    ``live``: the line on a terminal that is kept below all that.  Every line is flushed.
    """

    def __init__(self, json: bool):
        self.json = json
        self.live: LiveLine | None = None
        self._lock = threading.RLock()          # a command's failure comes from another thread

    def word(self, word: "Word") -> None:
        at = datetime.fromtimestamp(word.at).astimezone().isoformat(timespec="milliseconds")
        self._line(f"{word.time_s:9.2f} s  {word.label:12} {word.probability:4.0%}",
                   {"event": "word", "word": word.label, "time_s": word.time_s, "confidence": word.probability,
                    "at": at}, sys.stdout)

    def notice(self, notice: "Notice") -> None:
        self._line(notice.text, {"event": "notice", **asdict(notice)}, sys.stderr)

    def summary(self, totals: "Totals") -> None:
        text = (f"heard {totals.heard:.1f} s ({totals.frames} frames), {totals.words} words; "
                f"lost {totals.lost:.1f} s ({totals.frames_lost} frames)")
        self._line(text, {"event": "summary", **asdict(totals)}, sys.stderr)

    def watch(self, heard) -> None:
        with self._lock:
            if self.live is not None:
                self.live.watch(heard)

    def hide(self) -> None:
        with self._lock:
            if self.live is not None:
                self.live.hide()

    def _line(self, text: str, entry: dict, where) -> None:
        with self._lock:
            self.hide()
            if self.json:
                text, where = jsons.dumps(entry, ensure_ascii=False), sys.stdout
            if where is None:           # it was closed from the beginning
                return
            encoding = where.encoding or "utf-8"
            try:
                print(text.encode(encoding, "backslashreplace").decode(encoding), file=where, flush=True)
            except BrokenPipeError:     # the reader went away: the thread that listens ends for it
                if threading.current_thread() is threading.main_thread():
                    raise
