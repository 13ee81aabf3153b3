"""Designs and the identity that a board reports."""

import numpy as np
import pytest

from tidegate.spec.cells import CELLS
from tidegate.spec.design import IDENTITY_BYTES, SIMULATED, Design, Identity, simulated
from tidegate.spec.errors import TidegateError
from tidegate.spec.rules import RULES


@pytest.mark.parametrize("lanes", SIMULATED)
def test_identity_round_trip(lanes):
    identity = Identity(SIMULATED[lanes], bytes(range(16)))
    data = identity.pack()
    assert len(data) == IDENTITY_BYTES
    assert Identity.unpack(data) == identity
    assert SIMULATED[lanes].weight_bytes == (384 if lanes == 128 else 256) * 1024


def test_foreign_devices_and_other_formats_are_refused():
    data = Identity(Design(), bytes(16)).pack()
    for bad in (b"", b"NMEA" + data[4:], data[:-1], data + b"\0"):
        with pytest.raises(TidegateError, match="not a tidegate board"):
            Identity.unpack(bad)
    for at in range(4, 11):
        with pytest.raises(TidegateError, match="another protocol or number format"):
            Identity.unpack(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(("changes", "text"), [
    (dict(lanes=12), "lanes must be a power of two"), (dict(encoder_rate=0), "power of two"),
    (dict(lanes=4, cell_rate=8), "more than the 4 lanes"),
    (dict(lanes=256, cell_rate=256), "cell_rate must be 1 to 128"),
    (dict(cell_rate=256), "cell_rate must be 1 to 128"), (dict(features=4, encoder_rate=8), "more than the 4 features"),
    (dict(features=1, encoder_rate=2), "more than the 1 features"), (dict(encoder_rate=256), "1 to 128, not 256"),
    (dict(neurons=17, cell_rate=2), "multiple of the cell_rate 2, not 17"), (dict(layers=33), "layers must be 1 to 32"),
    (dict(layers=0), "layers must be"), (dict(classes=0), "classes must be 1 to 122, not 0"),
    (dict(classes=123), "classes must be 1 to 122"), (dict(features=1025), "features must be 1 to 1024, not 1025"),
    (dict(neurons=0), "neurons must be"), (dict(neurons=65536), "neurons must be"),
    (dict(weight_words=0), "weight_words must be"), (dict(acc_words=70000), "acc_words must be"),
    (dict(weight_words=1 << 25), "weight_words must be"), (dict(lanes=1 << 16), "lanes must be 1 to 32768"),
    (dict(lanes=1024, weight_words=1 << 23), "more than 4294967296 bytes"), (dict(lanes=-8), "power of two"),
    (dict(lanes=8.0), "lanes is a whole number, not 8.0"), (dict(features="20"), "features is a whole number"),
    (dict(cells="gru"), "cells are a list of names"), (dict(cells=()), "a core needs a cell"),
    (dict(cells=("rnn",)), "rnn"), (dict(rules="diffuse"), r"rules are a list of names, not 'diffuse'"),
    (dict(rules=("delta", "diffused")), "no encoder rule 'diffused'; this version has delta, diffuse"),
    (dict(rules=(8,)), "no encoder rule '8'"), (dict(rules=()), "needs an encoder rule; give it delta or diffuse"),
    (dict(snapshot=False), "without a snapshot the cell_rate is 1"),
], ids=str)
def test_designs_that_cannot_be_built(changes, text):
    with pytest.raises(TidegateError, match=text) as error:
        Design(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [
    dict(lanes=1, cell_rate=1, encoder_rate=1, weight_words=1, acc_words=1, features=1, neurons=1, classes=1, layers=1),
    dict(features=2, neurons=2, cell_rate=1, encoder_rate=2, classes=15), dict(features=1024, classes=122),
    dict(lanes=1 << 15, cell_rate=128, encoder_rate=128, weight_words=1 << 17, acc_words=65535, neurons=65408),
    dict(cells=["gru", "lstm"], neurons=np.int64(64)),
    dict(cells=["unit"], rules=["diffuse"]), dict(cells=["unit", "gru"]), dict(rules=["diffuse", "delta"]),
    dict(cells=["lstm", "unit", "gru"]),
], ids=str)
def test_the_smallest_and_the_largest_designs_have_an_identity(changes):
    identity = Identity(Design(**changes), bytes(16))
    assert Identity.unpack(identity.pack()) == identity


def test_what_follows_from_cells_and_rules():
    """In the order of the specification, and each with its own bit in the identity."""
    designs = [Design(), Design(cells=["unit"], rules=["diffuse"]),
               Design(cells=("unit", "gru"), rules=["diffuse", "delta"]),
               Design(cells=("lstm",)), Design(cells=("lstm",), layers=1)]
    assert [(d.cells, d.rules, d.diffuses, d.choices, d.branches, d.gates, d.stages) for d in designs] == [
        (("gru",), ("delta",), False, False, False, 4, 5), (("unit",), ("diffuse",), True, True, True, 1, 2),
        (("gru", "unit"), RULES, True, True, True, 4, 5), (("lstm",), ("delta",), False, False, True, 4, 6),
        (("lstm",), ("delta",), False, False, False, 4, 6)]
    cells = [("gru",), ("unit",), ("lstm",), ("gru", "unit"), tuple(CELLS)]
    assert len({Identity(Design(cells=names, rules=rules), bytes(16)).pack()
                for rules in (RULES, RULES[:1], RULES[1:]) for names in cells}) == 15


@pytest.mark.parametrize("lanes", SIMULATED)
def test_virtual_boards_with_more_memory(lanes):
    usual, large, most = simulated(lanes), simulated(lanes, 4), simulated(lanes, 64)
    assert usual == SIMULATED[lanes]
    assert (large.weight_words, large.acc_words, large.neurons) == tuple(
        4 * x for x in (usual.weight_words, usual.acc_words, usual.neurons))
    assert large.layers == 32 and most.neurons > 60_000 and most.weight_words == large.weight_words
    assert Identity.unpack(Identity(most, bytes(16)).pack()).design == most


def test_virtual_boards_that_there_are_not():
    with pytest.raises(TidegateError, match="no virtual board with 7 lanes; choose 8, 16, 64, 128"):
        simulated(7)
    with pytest.raises(TidegateError, match="1, 4, 16, 64 times the usual memory, not 3"):
        simulated(8, 3)
