"""A fake board behind a real pseudo-terminal, as the virtual board is."""

import os
import pty
import select
import threading
import tty

from fake_board import FakeBoard


class PtyBoard:
    """``port``: path to open.  ``close`` is the cable being pulled; ``pause`` stops answering."""

    def __init__(self, board: FakeBoard):
        self.board = board
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave                 # held open, or the master would see EIO between two users
        self.pause = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._stop.is_set():
            if self.pause or not select.select([self._master], [], [], 0.02)[0]:
                self._stop.wait(0.001)
                continue
            answers = self.board.receive(os.read(self._master, 4096))
            os.write(self._master, answers)

    def close(self):
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            os.close(self._slave)
            os.close(self._master)
