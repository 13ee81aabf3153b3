"""A board in Python that computes what its registers and its weight memory say, as the core does; and broken ones."""

from dataclasses import replace

import numpy as np
from fake_board import DIGEST

from tidegate.golden.cells import golden_of
from tidegate.spec.cells import CELLS, Cell
from tidegate.spec.conv import Conv2d
from tidegate.spec.design import SIMULATED, Design
from tidegate.spec.fixed import saturate, wrap
from tidegate.spec.formats import ACC_BITS, BIAS_DELTAS, SIGNAL
from tidegate.spec.layer import Layer
from tidegate.spec.packets import Result
from tidegate.spec.registers import BY_NAME, DENSE, STREAM
from tidegate.spec.rules import Diffuse, rule_of
from tidegate.spec.stop import STOP_SHIFT, UNDECIDED, Decider
from tidegate_sim.board_model import BoardModel


class CoreBoard(BoardModel):
    """Register for register what ``hw/tidegate_hw`` does, one frame after the other; cycles mean nothing."""

    def __init__(self, design: Design = SIMULATED[8]):
        super().__init__(design, DIGEST)
        self.acc = np.zeros((design.acc_words, design.lanes), np.int64)
        self.x, self.h, self.sent = (np.zeros(n, np.int64) for n in (design.features, design.neurons, design.neurons))

    def fetch(self, words: np.ndarray) -> np.ndarray:
        """Words of the weight memory: int64 (..., lanes)."""
        memory = np.frombuffer(self.weights, np.int8).reshape(self.design.weight_words, self.design.lanes)
        return memory[words % self.design.weight_words].astype(np.int64)

    def clear(self) -> None:
        for part in (self.acc, self.x, self.h, self.sent):
            part[:] = 0
        r = self.registers
        self.add(r["BIAS_BASE"], r["ACC_WORDS"], 0, np.arange(len(BIAS_DELTAS)), np.array(BIAS_DELTAS))

    def frame(self, number: int, values: tuple[int, ...]) -> Result:
        r = self.registers
        events, words = [], 0
        v, memory = saturate(np.array(values, np.int64), SIGNAL.bits), self.x[: len(values)]
        for s in range(r["LAYERS"] + 1):
            rule, theta = self.rule(s)
            fires, sent, memory[:] = rule_of(rule)(v, memory, theta, bool(r["MODE"] & DENSE))
            if s and self.design.convolves:         # of each word only some lanes are neurons
                fires = fires & (np.arange(len(v)) % self.design.lanes < r[f"LAYER_LANES{s - 1}"])
            fired = np.flatnonzero(fires)
            events.append(len(fired))
            if self.design.convolves and r[f"CONV{s}"] & 1:
                words += sum(self.convolve(s, int(index), sent[index]) for index in fired)
            else:
                length = max(r[f"COLUMN_LENGTH{s}"], 1)
                self.add(r[f"COLUMN_BASE{s}"], length, r[f"COLUMN_TARGET{s}"], fired, sent[fired])
                words += len(fired) * length
            if s < r["LAYERS"]:
                v, memory = self.layer(s)
        logits = self.acc[r["LOGIT_TARGET"] :].reshape(-1)[: r["CLASSES"]].copy()
        self.consume(r["LOGIT_CONSUME"], r["LOGIT_TARGET"], -(-r["CLASSES"] // self.design.lanes))
        return Result(number, 100 + words, words, tuple(events), tuple(logits.tolist()))

    def add(self, base: int, length: int, target: int, index: np.ndarray, delta: np.ndarray) -> None:
        """Columns times Δ to the accumulators."""
        columns = self.fetch(base + index[:, None] * length + np.arange(length))
        part = self.acc[target : target + length]
        part[:] = wrap(part + np.tensordot(delta, columns, 1), ACC_BITS)

    def convolve(self, s: int, index: int, delta: int) -> int:
        """An event of an image, for each convolution that hears it; gives the words that are read."""
        r, read = self.registers, 0
        pixel, c = divmod(index, r[f"CONV_PIXEL{s}"])
        y, x = divmod(pixel, r[f"CONV_WIDTH{s}"])
        for prefix in ("", "SKIP_") if self.design.skips else ("",):
            what = r[f"{prefix}CONV{s}"]
            if not what & 1:
                continue
            stride, kernel, padding, depthwise = 1 << (what >> 1 & 3), 1 + (what >> 3 & 7), what >> 6 & 7, what >> 9
            position, wide = r[f"{prefix}COLUMN_LENGTH{s}"], r[f"{prefix}CONV_RIGHT{s}"] + 1
            each = 1 if depthwise else position
            side = kernel + 10 * stride - 2 * padding       # any: it only has to be a convolution
            conv = Conv2d(1, side, side, kernel, stride, padding)
            columns = conv.reached(x, wide)
            for row in conv.reached(y, r[f"{prefix}CONV_BOTTOM{s}"] + 1):
                slots = [conv.slots[at + padding - out * stride] for at, out in ((y, row), (x, columns[0]))]
                word = r[f"{prefix}COLUMN_BASE{s}"] + each * ((c * kernel + slots[0]) * kernel + slots[1])
                target = r[f"{prefix}COLUMN_TARGET{s}"] + position * (row * wide + columns[0])
                target += c // self.design.lanes if depthwise else 0
                length = len(columns) * each
                self.add(word, length, target, np.zeros(1, np.int64), np.array([delta]))
                read += length
        return read

    def rule(self, signal: int) -> tuple[Diffuse | None, int]:
        """The rule of a signal, and its Θ."""
        names = ("RULE", "LOWEST", "HIGHEST", "OFFSET")
        packed, lowest, highest, offset = (self.registers[f"{name}{signal}"] for name in names)
        if not self.design.diffuses or (not packed & 1 and "delta" in self.design.rules):
            return None, self.registers[f"THETA{signal}"]
        step = (packed >> 5) + 1
        lowest, offset = wrap(lowest, BY_NAME["LOWEST0"].bits), wrap(offset, BY_NAME["OFFSET0"].bits)
        return Diffuse(step, lowest // step, highest // step, packed >> 2 & 7, bool(packed >> 1 & 1)), step - offset

    def layer(self, l: int) -> tuple[np.ndarray, np.ndarray]:
        """The signal of a layer, and its encoder's memory (a view)."""
        r = self.registers
        words, target, size = r[f"LAYER_WORDS{l}"], r[f"LAYER_TARGET{l}"], r[f"LAYER_SIZE{l}"]
        mine = slice(r[f"LAYER_STATE{l}"] * self.design.cell_rate, None)
        h, sent = self.h[mine][:size], self.sent[mine][:size]
        cell = CELLS[self.design.cells[r[f"LAYER_CELL{l}"]]]
        words *= len(cell.gates)
        gates = self.acc[target : target + words].reshape(len(cell.gates), -1)[:, :size]
        layer = Layer(size, r[f"LAYER_FRAC{l}"], cell=cell, activation=self.activation(cell, r[f"LAYER_ACTIVATION{l}"]))
        _, state, v = golden_of(cell).step(gates[None], h[None], layer)
        h[:] = state[0]
        self.consume(r[f"LAYER_CONSUME{l}"], target, words)
        return v[0], sent

    def activation(self, cell: Cell, number: int) -> str:
        return cell.activations[number] if cell.activations else ""

    def consume(self, how: int, target: int, words: int) -> None:
        """Take sums that were copied back to their biases, as a register LAYER_CONSUME says."""
        if not how or not self.design.diffuses:
            return
        self.acc[target : target + words] = 0
        for k in range(how - 1, len(BIAS_DELTAS)):
            base = self.registers["BIAS_BASE"] + k * self.registers["ACC_WORDS"] + target
            self.add(base, words, target, np.zeros(1, np.int64), np.array(BIAS_DELTAS[k : k + 1]))


class Stuck(CoreBoard):
    """A ``bit`` of a ``byte`` of the weight memory always reads as ``value``."""

    def __init__(self, design: Design, byte: int, bit: int, value: int):
        super().__init__(design)
        self.byte, self.mask, self.value = byte, 1 << bit, value

    def _write_weights(self, payload):
        answer = super()._write_weights(payload)
        self.weights[self.byte] = self.weights[self.byte] & ~self.mask | self.mask * self.value
        return answer


LINE = 1 << 6           # the address line of the weight memory that is broken


FAULTS = {                                                      # → the step that must find it
    "a bit of a weight is stuck": "memory",
    "an address line is stuck": "memory",
    "a word is never written": "memory",
    "a lane multiplies by Δ + 1": "memory",
    "a register's bit is stuck": "link",
    "a reset clears nothing": "reset",
    "a reset leaves the states": "reset",
    "a reset leaves an accumulator": "reset",
    "a reset leaves what the encoders remember": "reset",
    "a reset leaves the count of frames": "reset",
    "frames are forgotten": "reset",
    "a state is off by one": "golden",
    "a word too many is counted": "golden",
    "an event too many is counted": "golden",
    "an activation is another": "golden",
    "no error leaks": "golden",
    "every spike leaves what is left": "golden",
    "there are no negative levels": "golden",
    "sums that are consumed stay": "golden",
    "logits that are consumed stay": "golden",
    "a layer that consumes loses a part of its bias": "golden",
    "a lead that equals the margin is enough": "stop",
    "every class is decided": "stop",
    "decisions are held off too long": "stop",
    "a clip goes on when it is decided": "stop",
    "a clip goes on with the next request": "stop",
    "a stream decides once": "stop",
    "the sums are not cleared by a reset": "stop",
    "sums are rounded and not cut": "stop",
    "logits are smoothed over half as many frames": "stop",
    "a word passes one LSB too early": "stop",
    "a word passes one LSB too late": "stop",
    "a word that is held off is reported late": "stop",
    "a stream holds off after a reset": "stop",
}


class FaultyDecider(Decider):
    """One of the faults of the rule for streams, or none."""

    def __init__(self, stop, fault: str):
        self.fault = fault
        super().__init__(stop)
        if fault == "a stream holds off after a reset":
            self._left[...] = stop.hold

    def smooth(self, values):
        if self.fault != "sums are rounded and not cut" or not self.stop.smooth:
            return super().smooth(values)
        half, sums = (1 << self.stop.smooth) >> 1, np.zeros(values.shape[1:], np.int64)
        smoothed = []
        for v in values:
            sums = sums + v - (sums >> self.stop.smooth)
            smoothed.append((sums + half) >> self.stop.smooth)
        return np.array(smoothed)

    def decide(self, lead, best):
        if self.fault != "a word that is held off is reported late" or not self.stop.stream:
            return super().decide(lead, best)
        found = []
        for one in zip(lead, best, strict=True):
            risen = self._risen
            found.append(super().decide(*(np.array([value]) for value in one))[0])
            if found[-1] == UNDECIDED and (self._risen != risen).all():
                self._risen = np.full(self.shape, UNDECIDED)
        return np.array(found)


class Broken(CoreBoard):
    """A board with one of FAULTS; those of single weights and words are where ``byte`` is."""

    def __init__(self, fault: str, design: Design = SIMULATED[8], byte: int = 4321):
        assert fault in FAULTS
        self.fault, self.byte = fault, byte
        super().__init__(design)

    def fetch(self, words):
        if self.fault == "an address line is stuck":
            words = words & ~LINE
        return super().fetch(words)

    def _write_weights(self, payload):
        lanes = self.design.lanes
        if self.fault == "an address line is stuck":
            start = int.from_bytes(payload[:4], "little")
            for address, byte in enumerate(payload[4:], start):
                self.weights[address & ~(LINE * lanes)] = byte
            return b""
        word = slice(self.byte // lanes * lanes, (self.byte // lanes + 1) * lanes)
        before = self.weights[word]
        answer = super()._write_weights(payload)
        if self.fault == "a word is never written":
            self.weights[word] = before
        if self.fault == "a bit of a weight is stuck":
            self.weights[self.byte] |= 1 << 5
        return answer

    def _write(self, payload):
        answer = super()._write(payload)
        if self.fault == "a register's bit is stuck":
            self.registers["THETA0"] &= ~(1 << 11)
        return answer

    def add(self, base, length, target, index, delta):
        super().add(base, length, target, index, delta)
        if self.fault == "a lane multiplies by Δ + 1":
            columns = self.fetch(base + index[:, None] * length + np.arange(length))
            self.acc[target : target + length, 2] += columns[..., 2].sum(0)

    def clear(self):
        kept = {"a reset clears nothing": (self.acc, self.x, self.h, self.sent),
                "a reset leaves the states": (self.h,),
                "a reset leaves what the encoders remember": (self.x, self.sent),
                "a reset leaves an accumulator": (self.acc[3:4, :1],)}.get(self.fault, ())
        before = [part.copy() for part in kept]
        super().clear()
        if self.fault == "a reset leaves the count of frames":
            self.registers["FRAMES"] = 1
        for part, values in zip(kept, before, strict=True):
            part[:] = values

    @property
    def ended(self):
        return self._ended and self.fault != "a clip goes on when it is decided"

    @ended.setter
    def ended(self, value):
        self._ended = value

    def _frames(self, payload):
        if self.fault == "a clip goes on with the next request":
            self._ended = False
        return super()._frames(payload)

    def forget(self):
        self.before = [*getattr(self, "before", ()), *getattr(self, "heard", ())]
        super().forget()

    def decider(self, stop):
        decider = FaultyDecider(stop, self.fault)
        if self.fault == "the sums are not cleared by a reset" and self.before:
            decider.smooth(np.array(self.before)[:, : self.registers["CLASSES"]] >> STOP_SHIFT)
        return decider

    def decision(self, logits):
        r = dict(self.registers)
        if self.fault == "logits are smoothed over half as many frames":
            self.registers["STOP_SMOOTH"] = max(0, r["STOP_SMOOTH"] - 1)
        self.registers["STOP_RELEASE"] += self.fault == "a word passes one LSB too early"
        if self.fault == "a word passes one LSB too late":
            self.registers["STOP_RELEASE"] = max(0, r["STOP_RELEASE"] - 1)
        self.registers["STOP_MARGIN"] -= self.fault == "a lead that equals the margin is enough"
        self.registers["STOP_HOLD"] += self.fault == "decisions are held off too long"
        if self.fault == "every class is decided":
            self.registers["STOP_CLASSES"] = r["CLASSES"]
        if self.fault == "a stream decides once":
            self.registers["MODE"] &= ~STREAM
        decided = super().decision(logits)
        self.registers |= r
        return decided

    def layer(self, l):
        v, sent = super().layer(l)
        if self.fault == "a state is off by one" and l == 0:
            v = v + (np.arange(len(v)) == 5)
        return v, sent

    def activation(self, cell, number):
        name = super().activation(cell, number)
        return "identity" if self.fault == "an activation is another" and name == "relu" else name

    def rule(self, signal):
        rule, theta = super().rule(signal)
        other = {"no error leaks": {"leak": 0}, "every spike leaves what is left": {"zero": False},
                 "there are no negative levels": {"lowest": 0}}.get(self.fault, {})
        return rule and replace(rule, **other), theta

    def consume(self, how, target, words):
        logits = target == self.registers["LOGIT_TARGET"]
        if self.fault == ("logits that are consumed stay" if logits else "sums that are consumed stay"):
            return
        if self.fault == "a layer that consumes loses a part of its bias" and how == 2:
            how += 1
        super().consume(how, target, words)

    def frame(self, number, values):
        if self.fault == "frames are forgotten" and self.registers["LAYERS"] > 1:
            super().clear()
        r = super().frame(number, values)
        words = r.weight_words + (self.fault == "a word too many is counted")
        events = (r.events[0] + (self.fault == "an event too many is counted"), *r.events[1:])
        return Result(r.frame, r.cycles, words, events, r.logits)
