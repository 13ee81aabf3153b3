"""A command for each word, beside listening and never in its way."""

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime

from ..spec.errors import TidegateError
from .listen import Word
from .sources import Notice

MOST = 8            # commands that may run at the same time


class Runner:
    """Starts ``command`` for each word, without a shell.

    Its environment has TIDEGATE_WORD, TIDEGATE_CONFIDENCE (0..1), TIDEGATE_TIME (seconds since listening began) and
    TIDEGATE_AT (time of day, ISO 8601).  Its standard input is empty, and its output goes to ``stderr``.  ``notice`` is
    called, from other threads, when it cannot be started or fails, and when ``MOST`` of them are still running.
    TidegateError at once if there is no such program.
    """

    def __init__(self, command: str, notice: Callable[[Notice], None]):
        try:
            self.arguments = shlex.split(command)
        except ValueError as error:
            raise TidegateError(f"--exec {command!r} cannot be taken apart ({error}); check its quotes") from None
        if not self.arguments or shutil.which(self.arguments[0]) is None:
            raise TidegateError(f"--exec: there is no program '{(self.arguments or [''])[0]}'; give a command on the "
                                "path, or its full path")
        self._notice, self._threads, self._lock = notice, set(), threading.Lock()
        self.started = self.failed = 0

    def run(self, word: Word) -> None:
        """Start the command for a word; returns at once."""
        with self._lock:
            busy = len(self._threads) >= MOST
            if not busy:
                thread = threading.Thread(target=self._run, args=(word,), daemon=True)
                self._threads.add(thread)
                self.started += 1
        if busy:
            self._fail(f"{MOST} commands are still running, so none was started for '{word.label}'")
        else:
            thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Wait a little for the commands that run; those that take longer run on."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout / max(1, len(threads)))

    def _run(self, word: Word) -> None:
        at = datetime.fromtimestamp(word.at).astimezone().isoformat(timespec="milliseconds")
        environment = os.environ | {"TIDEGATE_WORD": word.label, "TIDEGATE_CONFIDENCE": f"{word.probability:.4f}",
                                    "TIDEGATE_TIME": f"{word.time_s:.3f}", "TIDEGATE_AT": at}
        try:
            # descriptor 2 of a program that was started without standard error may be anything, even the board
            output = subprocess.DEVNULL if sys.stderr is None else sys.stderr
            code = subprocess.run(self.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                  env=environment, check=False).returncode
            if code:
                self._fail(f"'{self.arguments[0]}' ended with exit code {code} for '{word.label}'")
        except (OSError, ValueError) as error:      # ValueError: a label that is no text for this system
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            self._fail(f"'{self.arguments[0]}' could not be started ({reason})")
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _fail(self, text: str) -> None:
        with self._lock:
            self.failed += 1
        self._notice(Notice("exec", f"--exec: {text}"))
