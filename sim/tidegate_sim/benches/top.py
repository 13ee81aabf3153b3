"""Bench of the whole board, from pin to pin: a model is loaded and streams frames, like golden's."""

import json
import os
import struct
from itertools import pairwise

import cocotb
import numpy as np
from cocotb.queue import Queue

from tidegate.golden import Golden
from tidegate.spec.design import Design, Identity
from tidegate.spec.layout import Layout
from tidegate.spec.packets import PAYLOAD, Request, Result, decode_packet, encode_packet
from tidegate.spec.register_values import register_values
from tidegate.spec.registers import BY_NAME
from tidegate_sim.random_networks import random_model
from tidegate_sim.streams import PERIOD, reset_dut

from .uart import drive, listen

DESIGN = Design(**json.loads(os.environ["BENCH"]))
DIGEST = bytes.fromhex(os.environ["DIGEST"])
BIT = int(os.environ["DIVISOR"]) * PERIOD * 1000     # ps


class Host:
    """A host at the other end of the line."""

    def __init__(self, dut):
        self.dut, self.seq, self.bytes = dut, 0, Queue()
        dut.rx.value = 1

    async def hear(self) -> None:
        while True:
            self.bytes.put_nowait(await listen(self.dut.tx, BIT))

    async def ask(self, kind: int, payload: bytes = b"") -> bytes:
        self.seq += 1
        for byte in encode_packet(self.seq, kind, payload):
            await drive(self.dut.rx, byte, BIT)
        answer = bytearray()
        while not answer.endswith(b"\0"):
            answer.append(await self.bytes.get())
        seq, answered, payload = decode_packet(bytes(answer[:-1]))
        assert (seq, answered) == (self.seq, kind | 0x80), payload
        return payload


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def streams_frames(dut):
    host = Host(dut)
    await reset_dut(dut)
    cocotb.start_soon(host.hear())
    assert Identity.unpack((await host.ask(Request.IDENTIFY))[:-2]) == Identity(DESIGN, DIGEST)
    host.seq = 0        # IDENTIFY uses up no number
    wide = DESIGN.payload > PAYLOAD         # then a frame fills a request
    model = random_model(DESIGN.features if wide else 5, [3], 2, seed=cocotb.RANDOM_SEED, extreme=False)
    layout = Layout(model.network, DESIGN)
    for name, value in register_values(layout).items():
        await host.ask(Request.WRITE_REGISTER, struct.pack("<HI", BY_NAME[name].address, value))
    weights = layout.pack(model).tobytes()
    chunk = DESIGN.payload - 4
    for k in range(0, len(weights), chunk):
        await host.ask(Request.WRITE_WEIGHTS, struct.pack("<I", k) + weights[k : k + chunk])
    await host.ask(Request.RESET)
    count, ends = (2, (1, 2)) if wide else (6, (1, 4, 6))       # frames, and where a request ends
    frames = np.array([[100 * t, -70 * t, 5, 3 * t, 900 - 400 * t] * (model.network.features // 5)
                       for t in range(count)])
    trace = Golden(model).run(frames[:, None])
    answers = b"".join([await host.ask(Request.FRAMES, frames[start:end].astype("<i2").tobytes())
                        for start, end in pairwise((0, *ends))])
    size = len(answers) // count
    for t in range(count):
        result = Result.unpack(answers[size * t : size * (t + 1)], model.network.signals)
        assert result.frame == t
        assert result.logits == tuple(trace.logits[t, 0].tolist())
        assert result.events == tuple(trace.events[t, 0].tolist())
