"""What a model file may say of its feature front end; ``tidegate.host.frontend`` computes it."""

import math
from collections.abc import Mapping
from typing import Any

from .errors import ModelError

WHOLE = ("sample_rate", "bands")                # numbers without a fraction
NUMBERS = (*WHOLE, "window_ms", "hop_ms", "low_hz", "high_hz", "preemphasis", "floor", "rise_db", "fall_ms", "headroom")
FEWEST_BANDS = 3                                # of a mel filter bank


def check_frontend(settings: Mapping[str, Any]) -> None:
    """Front-end settings, name → number; other names than NUMBERS are passed over.  ModelError if no sound has such
    features."""
    given = {name: settings[name] for name in NUMBERS if name in settings}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
            raise ModelError(f"front-end settings are finite numbers, but {name} is {_short(value)}; correct it")
        if name in WHOLE and not isinstance(value, int):
            raise ModelError(f"front-end settings: {name} must be a whole number, not {_short(value)}; correct it")
    rate = given.get("sample_rate", math.inf)
    for name, least in (("window_ms", 2), ("hop_ms", 1)):
        if rate * given.get(name, math.inf) / 1000 < least:
            raise ModelError(f"front-end settings: {name} {_short(given.get(name))} is less than {least} of {rate} "
                             "samples per second; make it longer")
    if given.get("bands", FEWEST_BANDS) < FEWEST_BANDS:
        raise ModelError(f"front-end settings: {given['bands']} mel bands are less than {FEWEST_BANDS}; use more")
    if not 0 < given.get("floor", 1) or not 0 <= given.get("preemphasis", 0) <= 1:
        raise ModelError("front-end settings: the floor is above 0 and the preemphasis between 0 and 1; correct them")
    if not given.get("rise_db", 0) >= 0 or not given.get("fall_ms", 1) > 0 or not given.get("headroom", 0) >= 0:
        raise ModelError("front-end settings: the noise floor rises by 0 dB per second or more and falls in more than "
                         "0 ms, and its headroom is 0 or more; correct them")
    if not 0 <= given.get("low_hz", 0) < given.get("high_hz", math.inf) <= max(rate / 2, 0):
        raise ModelError(f"front-end settings: no mel bands lie between {_short(given.get('low_hz', 0))} and "
                         f"{_short(given.get('high_hz', '?'))} Hz at {rate} samples per second; correct them")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
