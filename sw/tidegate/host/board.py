"""A board with a core on it, virtual or real: load a model, stream feature frames, read results.

    with Board.open("virtual") as board:
        board.load(load_model("digits"))
        for result in board.stream(frames):
            print(result.label, result.logits, result.cycles, result.events)
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..progress import Progress
from ..spec.design import Design, Identity, simulated
from ..spec.errors import ModelError, TidegateError
from ..spec.formats import SIGNAL
from ..spec.layer import whole
from ..spec.layout import Layout
from ..spec.model import Model
from ..spec.packets import Request, most_frames, result_dtype
from ..spec.register_values import register_values, threshold_registers
from ..spec.registers import BY_NAME, stop_registers
from ..spec.stop import Stop
from ..zoo import load as load_model
from .errors import BoardError, InputError
from .frame_result import FrameResult, frame_results
from .link import HostLink
from .transport import BAUD, SerialTransport, Transport

VIRTUAL = "virtual"
DEFAULT_LANES = 64      # of the virtual board


class Board:
    """A driver for one board; ``Board.open`` finds and identifies it.  Also a context manager.

    ``identity``: design and digest as the board reports them.  ``model``, ``layout``: what is loaded or None.
    An exception or Ctrl-C at any point leaves the board usable: the next ``open`` takes over where it stands.
    """

    def __init__(self, transport: Transport, *, expect_digest: str | None = None, timeout: float = 0.25,
                 patience: float = 5.0):
        self.link = HostLink(transport, timeout, patience)
        self.model: Model | None = None
        self.layout: Layout | None = None
        self._virtual = None
        self._again: Callable[[], Board] | None = None      # opens the same port with the same arguments
        self._lost: tuple[Model, bool, Stop | None] | None = None      # what ``reopen`` still has to restore
        self._dense, self._stop = False, None
        self.identity: Identity = self.link.identify()
        found = self.identity.digest.hex()
        if expect_digest is not None and found != expect_digest.lower()[: len(found)]:
            raise BoardError(f"the board's core is {found[:12]}…, the manifest says {expect_digest[:12]}…; "
                             "load the bitstream that belongs to the manifest")

    @classmethod
    def open(cls, port: str = VIRTUAL, lanes: int | None = None, *, memory: int = 1, baud: int = BAUD,
             expect_digest: str | None = None, trace=None, waveform=None) -> "Board":
        """Open "virtual", the simulated core with 8, 16, 64 (default) or 128 lanes, or a serial port.

        ``memory``: a virtual board with so many times the usual memory: 1, 4, 16 or 64.
        ``expect_digest``: hexadecimal digest from a bitstream's manifest; another core is refused.
        ``trace`` and ``waveform`` are passed to the virtual board.  ``lanes`` with a serial port: refuse a
        board with others.
        BoardError if there is no such port or no board behind it.
        """
        virtual, asked = None, port
        if port == VIRTUAL:
            virtual = _start_virtual(DEFAULT_LANES if lanes is None else lanes, memory, trace, waveform)
            port = virtual.port
        elif memory != 1:
            raise BoardError("only a virtual board can have more memory; leave --memory out")
        transport = None
        try:
            transport = SerialTransport(str(port), baud)
            board = cls(transport, expect_digest=expect_digest)
            if lanes not in (None, board.design.lanes):
                raise BoardError(f"the board on {port} has {board.design.lanes} lanes, not {lanes}; "
                                 "leave --lanes out")
        except BaseException:
            for device in (transport, virtual):
                if device is not None:
                    device.close()
            raise
        board._virtual = virtual
        found = board.identity.digest.hex()
        board._again = partial(cls.open, asked, lanes, memory=memory, baud=baud, expect_digest=found, trace=trace,
                               waveform=waveform)
        return board

    def reopen(self) -> None:
        """Open the same port again, after the board was unplugged or restarted, with model, dense mode and stop rule.

        The state is that after a reset.  The board must have the same core as before.  BoardError while the board is
        not there: try again later.
        """
        if self._again is None:
            raise BoardError(f"only a board from Board.open can be opened again, not one on {self.link.transport.name}")
        if self.model is not None:
            self._lost = self.model, self._dense, self._stop
        self.model = self.layout = None
        self.close()
        again = self._again()
        self.link, self.identity, self._virtual = again.link, again.identity, again._virtual
        if self._lost is not None:
            model, dense, stop = self._lost
            self.load(model)
            self._lost = model, dense, stop             # until all of it is there
            self._dense, self._stop = dense, stop
            self._set_mode()
            self.reset()                                # or the rule would not hold yet
            self._lost = None

    @property
    def design(self) -> Design:
        return self.identity.design

    def close(self) -> None:
        """Give the port back and stop the virtual board."""
        self.link.close()
        if self._virtual is not None:
            self._virtual.close()
            self._virtual = None

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def read_register(self, name: str) -> int:
        """Value of a register of ``spec/registers.py``."""
        answer = self.link.request(Request.READ_REGISTER, struct.pack("<H", _address(name)))
        return int.from_bytes(answer, "little")

    def write_register(self, name: str, value: int) -> None:
        """Write a register; BoardError if it is read only or too narrow for the value, ModelError if the value is not
        a whole number."""
        address, register, value = _address(name), BY_NAME[name], whole(value, f"a value of register {name}")
        if not register.writable:
            raise BoardError(f"register {name} is read only")
        bits = register.most_bits(self.design)
        if not 0 <= value < 1 << bits:
            raise BoardError(f"register {name} has {bits} bits; {value} does not fit")
        self.link.request(Request.WRITE_REGISTER, struct.pack("<HI", address, value))

    def write_weights(self, weights: np.ndarray, word: int = 0,
                      progress: Progress | None = None) -> None:
        """Write int8 (words, lanes) from ``word`` on, while there is no model; ``progress``: bytes so far, and all."""
        lanes = self.design.lanes
        if weights.dtype != np.int8 or weights.ndim != 2 or weights.shape[1] != lanes:
            raise BoardError(f"weights are int8 (words, {lanes}) on this board, not {weights.dtype}{weights.shape}")
        if not 0 <= word <= word + len(weights) <= self.design.weight_words:
            raise BoardError(f"{len(weights)} weight words from word {word} on do not fit the "
                             f"{self.design.weight_words} of this board")
        image = weights.tobytes()
        room = self.design.payload - 4
        chunk = room // lanes * lanes or room
        for start in range(0, len(image), chunk):
            part = image[start : start + chunk]
            self.link.request(Request.WRITE_WEIGHTS, struct.pack("<I", word * lanes + start) + part)
            if progress is not None:
                progress(start + len(part), len(image))

    def load(self, model: Model | str | Path, progress: Progress | None = None) -> None:
        """Pack a model for the board's lanes, write it and reset the state; dense mode and any stop rule are off.

        ``model``: one, or what ``load_model`` takes, such as "digits".  ``progress(done, total)`` is called with bytes.
        CapacityError, before anything is sent, if the board is too small, ModelError if there is no classifier.  A load
        that is cut short leaves the board without a model.
        """
        if not isinstance(model, Model):
            model = load_model(model)
        if not model.network.classes:
            raise ModelError("this model has no classifier, so a board has nothing to answer; train one with classes")
        layout = Layout(model.network, self.design)
        image = layout.pack(model)
        registers = register_values(layout)
        self.model = self.layout = None
        self.write_register("LAYERS", 0)
        self.write_weights(image, progress=progress)
        layers = registers.pop("LAYERS")
        self._dense, self._stop = False, None
        for name, value in (registers | stop_registers(None, 0)).items():
            self.write_register(name, value)
        self.reset()
        self.write_register("LAYERS", layers)       # last: from here on frames are taken
        self.model, self.layout, self._lost = model, layout, None

    def reset(self) -> None:
        """One atomic operation: anchors and h to 0, accumulators to their biases, frame number to 0."""
        self.link.request(Request.RESET)

    @property
    def dense(self) -> bool:
        """Dense mode: every element of every signal is sent, whatever Θ; the baseline for cycles and reads."""
        return self._dense

    @dense.setter
    def dense(self, on: bool) -> None:
        self._dense = bool(on)
        self._set_mode()

    @property
    def stop(self) -> Stop | None:
        """The rule by which the board decides early, or None; takes effect with the next reset.

        The model's own is ``model.stop``.  After a decision the board runs no frame until it is reset, and ``stream``
        ends; with ``Stop(..., stream=True)``, such as ``listening_stop(model)``, it goes on and decides each word once.
        """
        return self._stop

    @stop.setter
    def stop(self, rule: Stop | None) -> None:
        if rule is not None and not isinstance(rule, Stop):
            raise ModelError(f"a stop rule is a Stop, as model.deciding(5.0).stop, not {rule!r}")
        if rule is not None and self._loaded().network.classes < 2:
            raise ModelError("a stop rule compares two classes at least; this model has one")
        self._stop = rule
        self._set_mode()

    def _set_mode(self) -> None:
        classes = self.model.network.classes if self.model else 0
        for name, value in stop_registers(self._stop, classes, self._dense).items():
            self.write_register(name, value)

    def thresholds(self, *thresholds: int) -> None:
        """Change Θ of each signal, in LSBs of 2**-8, features first; takes effect with the next frame."""
        model = self._loaded()
        self.model = model.with_thresholds(*thresholds)      # checks number and range
        for name, value in threshold_registers(self.model.network).items():
            self.write_register(name, value)

    def stream(self, frames: np.ndarray | Iterable[np.ndarray], reset: bool = True) -> Iterator[FrameResult]:
        """Send feature frames and yield a FrameResult for each.

        ``frames``: (T, features), an array, a tensor or a list of frames or of blocks of them; or for live input an
        iterable of (features,) or (n, features) blocks, each of which is answered before the next is asked for.  The
        frames of an array, list or block go to the board
        ``most_frames(features, classes)`` at a time, and the next of these bursts is sent before the results of the
        last are yielded: while a result is looked at, and when the generator is closed early, the board may be up to
        two bursts ahead.  With a stop rule that ends a clip, the frame that decides is the last one yielded.
        Floats are features as the front end gives them and are quantised by the model; integers are sent as
        they are, in LSBs of 2**-8.  ``reset``: start from the reset state, else go on from the last frame.
        InputError (for an array or a list: at once, before anything is sent) on a wrong shape, NaN, infinity or
        integers beyond ±2047.
        """
        model = self._loaded()
        listed = isinstance(frames, list | tuple)
        if listed and any(getattr(frame, "ndim", 0) or isinstance(frame, list | tuple) for frame in frames):
            blocks = [np.concatenate([self._integers(block) for block in frames])]
        elif listed or hasattr(frames, "__array__"):
            blocks = [] if listed and not frames else [self._integers(frames)]
        else:
            blocks = map(self._integers, frames)
        return self._stream(model, blocks, reset)

    def listen(self, source: Any = None, **options) -> Any:
        """Listen for the loaded model's words: ``for word in board.listen(source): print(word.label, word.time_s)``.

        ``source``: None for the default microphone, a path of a sound file, "-" for raw PCM on standard input, a
        ``SoundSource``, or an iterable of blocks of samples (n,) at the model's sample rate.  ``options``: see
        ``listen.Listener``, which this gives; when the board is unplugged it says so and calls ``reopen`` until it is
        back.  BoardError if no model is loaded.
        """
        from .listen import Listener

        self._loaded()
        return Listener(self, source, **options)

    def _stream(self, model: Model, blocks: Iterable[np.ndarray], reset: bool) -> Iterator[FrameResult]:
        if reset:
            self.reset()
        expected, decided_at = 0 if reset else self.read_register("FRAMES"), None
        for block in blocks:
            for results in self._bursts(block, model):
                count = len(results)
                wrong = np.flatnonzero(results["frame"] != np.arange(expected, expected + count))
                if len(wrong):
                    raise BoardError(f"the board counts frame {results['frame'][wrong[0]]} where "
                                     f"{expected + wrong[0]} was sent; "
                                     "another program used it: open it again and load the model")
                expected += count
                for result in frame_results(results, model, decided_at):
                    decided_at = result.decided_at
                    yield result
                if self._ends(results):
                    return

    def _bursts(self, block: np.ndarray, model: Model) -> Iterator[np.ndarray]:
        """Results of each burst; when they are handed out, the next burst is on its way, unless they end the clip."""
        most = most_frames(model.network.features, model.network.classes, layers=len(model.network.layers))
        pending, count = None, 0
        for start in range(0, len(block), most):
            burst = block[start : start + most]
            results = None if pending is None else self._results(self.link.finish(pending), count, model)
            if results is not None and self._ends(results):
                yield results
                return
            pending, count = self.link.start(Request.FRAMES, burst.astype("<i2").tobytes()), len(burst)
            if results is not None:
                yield results
        if pending is not None:
            yield self._results(self.link.finish(pending), count, model)

    def _ends(self, results: np.ndarray) -> bool:
        """Whether these results end the clip; without any it had ended before."""
        clip = self._stop is not None and not self._stop.stream
        return clip and (not len(results) or bool(results["decision"][-1]))

    def _results(self, answer: bytes, count: int, model: Model) -> np.ndarray:
        """Results of ``count`` frames, or up to a decision, of ``result_dtype``."""
        layout = result_dtype(model.network.classes, len(model.network.layers))
        if len(answer) % layout.itemsize == 0:
            results = np.frombuffer(answer, layout)
            if (results["decision"] > model.network.classes).any():
                raise BoardError("the board decides for a class that this model has not; load the model again")
            if len(results) == count or (len(results) < count and self._ends(results)):
                return results
        raise BoardError("the board has another model, or another stop rule, than is known here; load it again")

    def _loaded(self) -> Model:
        if self.model is None:
            raise BoardError("no model is loaded; load one first")
        return self.model

    def _integers(self, frames: Any) -> np.ndarray:
        """Checked int16 (n, features) of float or integer frames."""
        model = self._loaded()
        try:
            frames = np.asarray(frames.detach().cpu() if hasattr(frames, "detach") else frames)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"these frames make no array ({' '.join(str(error).split())})") from None
        if frames.ndim == 1:
            frames = frames[None]
        features = model.network.features
        if frames.ndim != 2 or frames.shape[1] != features:
            raise InputError(f"frames have the shape {frames.shape}; this model needs (frames, {features})")
        if np.issubdtype(frames.dtype, np.floating):
            bad = np.flatnonzero(~np.isfinite(frames).all(1))
            if len(bad):
                raise InputError(f"frame {bad[0]} holds NaN or infinity; check the features")
            return model.quantise(frames)
        if not np.issubdtype(frames.dtype, np.integer):
            raise InputError(f"frames must be floats or integers, not {frames.dtype}")
        bad = np.flatnonzero(((frames < -SIGNAL.max) | (frames > SIGNAL.max)).any(1))
        if len(bad):
            raise InputError(f"frame {bad[0]} holds integers beyond ±{SIGNAL.max}; they are LSBs of 1/256")
        return frames.astype(np.int16)


def _start_virtual(lanes: int, memory: int, trace, waveform):
    try:
        design = simulated(lanes, memory)
    except TidegateError as error:
        raise BoardError(str(error)) from None
    try:
        from tidegate_sim.virtual import VirtualBoard
    except ImportError as error:
        raise BoardError(f"the virtual board needs the simulator ({error.name} is missing): "
                         "pip install 'tidegate[sim]'") from None
    return VirtualBoard(design, trace=trace, waveform=waveform)


def _address(name: str) -> int:
    if name not in BY_NAME:
        raise BoardError(f"there is no register '{name}'; `python -m tidegate.spec.registers` lists them")
    return BY_NAME[name].address
