"""Designs and the identity that a board reports."""

import pytest

from tidegate.spec.design import IDENTITY_BYTES, SIMULATED, Design, Identity
from tidegate.spec.errors import TidegateError


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
    (dict(lanes=12), "power of two"), (dict(encoder_rate=0), "power of two"),
    (dict(lanes=4, cell_rate=8), "more than")])
def test_designs_that_cannot_be_built(changes, text):
    with pytest.raises(TidegateError, match=text):
        Design(**changes)
