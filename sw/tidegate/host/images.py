"""Images for a spiking model that was converted: each is held for some frames, and a pixel spikes at its brightness.

The model's card says the image that its network hears, [channels, height, width] or [features], and for how many frames
images were held while thresholds were balanced.
"""

from pathlib import Path

import numpy as np

from ..spec.errors import TidegateError
from ..spec.model import Model

STEPS = 32          # frames per image, if the card does not say


def image_of(model: Model) -> tuple[int, ...] | None:
    """The shape of an image, without the batch, that a converted model hears; None of other models."""
    shape = _card(model).get("image")
    return tuple(map(int, shape)) if isinstance(shape, list | tuple) and shape else None


def held_images(model: Model, values: np.ndarray, path: str | Path, steps: int | None = None) -> np.ndarray | None:
    """Images (n, channels, height, width) or (n, features), uint8 or 0..1, as SIGNAL integers (n, steps, features), a
    view in which all frames of an image are one; None if ``values`` have another shape, or the model takes no images.

    ``steps``: frames per image; None: as the card says.  TidegateError as of ``image_features``.
    """
    image = image_of(model)
    if image is None or values.shape[1:] != image:
        return None
    flat = model.quantise(image_features(values, image, path))
    count = int(_card(model).get("steps", STEPS)) if steps is None else steps
    return np.broadcast_to(flat[:, None], (len(flat), count, flat.shape[1]))


def image_features(values: np.ndarray, image: tuple[int, ...], path: str | Path) -> np.ndarray:
    """Images (n, *image) of the file ``path``, uint8 or 0..1, as float32 (n, features), 0..1, in the order (y, x,
    channel); TidegateError if they have another shape or range, or there are none."""
    if values.shape[1:] != image or not len(values) or values.dtype.kind not in "uif":
        raise TidegateError(f"'{path}' holds {values.dtype} {values.shape}; the network hears (images, "
                            f"{', '.join(map(str, image))})")
    if values.dtype == np.uint8 and values.max() == 1:
        raise TidegateError(f"'{path}' holds uint8 images of 0 and 1 only, where 255 is white; save them as floats, or "
                            "multiply them by 255")
    x = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
    if not (0 <= x.min() and x.max() <= 1):     # also of NaN
        raise TidegateError(f"'{path}' has values beyond 0..1; a pixel is the share of frames in which it spikes: "
                            "divide by the largest, and train the network with that")
    return (x.transpose(0, 2, 3, 1) if len(image) == 3 else x).reshape(len(x), -1)


def _card(model: Model) -> dict:
    said = model.card.get("conversion")
    return said if isinstance(said, dict) else {}
