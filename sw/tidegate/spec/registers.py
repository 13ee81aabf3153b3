"""The register map, the only copy: gateware, driver and docs (``python -m tidegate.spec.registers``) read it here."""

from dataclasses import dataclass

from .design import Design
from .formats import RECIPROCAL_BITS
from .network import MAX_LAYERS, MAX_SIGNALS
from .stop import HOLD_MAX, SMOOTH_MAX, STOP_BITS, Stop


@dataclass(frozen=True)
class Register:
    """``name`` at ``address``; ``bits`` wide; written by the host if ``writable``, else read only.

    ``capacity``: which of a design's capacities the value makes sense up to.  ``layers``: layers that a design must
    have for the register to be of use.  ``among``: which of a design's lists the value is an index of.  ``only``: which
    property a design must have for the register to be there; without, its address is unknown.
    """

    name: str
    address: int
    bits: int
    writable: bool
    doc: str
    capacity: str | None = None
    layers: int = 0
    among: str | None = None
    only: str | None = None

    def there(self, design: Design) -> bool:
        """Whether a design has the register."""
        return self.only is None or bool(getattr(design, self.only))

    def width(self, design: Design) -> int:
        """Bits that a design keeps of it; a value that is too large for them becomes the largest they hold.

        That is more than the capacity, so that no nonsense becomes sense.
        """
        if self.layers > design.layers or not self.there(design):
            return 0
        if self.among is not None:
            return (len(getattr(design, self.among)) - 1).bit_length()
        if self.capacity is None:
            return self.bits
        most = getattr(design, self.capacity)
        return min(self.bits, (most + 1).bit_length()) if most else 0

    def kept(self, value: int, design: Design) -> int:
        """What a design keeps of a written ``value`` (32 bits)."""
        return min(value % (1 << self.bits), (1 << self.width(design)) - 1)


def _bank(name: str, address: int, count: int, bits: int, doc: str, capacity: str | None = None,
          among: str | None = None, only: str | None = None) -> list[Register]:
    first = count - MAX_LAYERS      # a signal's registers, but not a layer's, are of use without a layer
    return [Register(f"{name}{k}", address + k, bits, True, doc.format(k, k), capacity, k + 1 - first, among, only)
            for k in range(count)]


REGISTERS: tuple[Register, ...] = (
    Register("MODE", 0x00, 3, True,
             "bit 0 `dense`: every element of every signal is sent; bit 1 `early`: decide, and run no frame after a "
             "decision; bit 2 `stream`: but go on, and decide each word once (see `spec/stop.py`)"),
    Register("LAYERS", 0x01, 3, True, "number of layers, 0 = no model loaded"),
    Register("FEATURES", 0x02, 16, True, "elements of a feature frame", "features"),
    Register("CLASSES", 0x03, 16, True, "logits of the classifier", "classes"),
    Register("BIAS_BASE", 0x04, 24, True, "weight word of the first bias column", "weight_words"),
    Register("ACC_WORDS", 0x05, 16, True, "accumulator words in use: the length of a bias column", "acc_words"),
    Register("LOGIT_TARGET", 0x06, 16, True, "first accumulator word of the logits", "acc_words"),
    Register("FRAMES", 0x07, 32, False, "frames taken since the last reset; those after a decision are not run"),
    *_bank("THETA", 0x08, MAX_SIGNALS, 13, "Θ of signal {} in LSBs of 2**-8"),
    *_bank("COLUMN_BASE", 0x10, MAX_SIGNALS, 24, "weight word of signal {}'s first column", "weight_words"),
    *_bank("COLUMN_LENGTH", 0x18, MAX_SIGNALS, 16, "weight words of a column of signal {}", "acc_words"),
    *_bank("COLUMN_TARGET", 0x20, MAX_SIGNALS, 16, "first accumulator word that signal {} feeds", "acc_words"),
    *_bank("LAYER_SIZE", 0x28, MAX_LAYERS, 16, "neurons of layer {}", "neurons"),
    *_bank("LAYER_WORDS", 0x30, MAX_LAYERS, 16, "accumulator words of one gate of layer {}", "acc_words"),
    *_bank("LAYER_FRAC", 0x38, MAX_LAYERS, 4, "weight_frac of layer {}"),
    *_bank("LAYER_STATE", 0x40, MAX_LAYERS, 16, "first group of cell_rate neurons of layer {}", "neurons"),
    *_bank("LAYER_TARGET", 0x48, MAX_LAYERS, 16, "first accumulator word of layer {}", "acc_words"),
    *_bank("LAYER_CLOSE", 0x58, MAX_LAYERS, 24, "words of the first job that closes layer {}: the gates that its input "
           "feeds; of use with a snapshot", "close_words"),
    *_bank("LAYER_REST", 0x60, MAX_LAYERS, 16, "words of the second such job, 0: none", "close_words"),
    *_bank("LAYER_CELL", 0x68, MAX_LAYERS, 4, "which of the design's cells layer {} has", among="cells"),
    Register("STOP_MARGIN", 0x50, STOP_BITS, True, "a lead above it decides, in LSBs of the classifier's weights"),
    Register("STOP_HOLD", 0x51, HOLD_MAX.bit_length(), True,
             "frames without a decision after one, and on a clip after a reset; takes effect with the next"),
    Register("STOP_CLASSES", 0x52, 16, True, "classes from this one on are never decided", "classes"),
    Register("DECISION", 0x53, 16, False, "class + 1 that the last frame run has decided, 0: none"),
    Register("STOP_RELEASE", 0x54, STOP_BITS, True, "in a stream a word has passed when its lead is not above it"),
    Register("STOP_SMOOTH", 0x55, SMOOTH_MAX.bit_length(), True,
             "logits are smoothed over about 2 to the power of so many frames; change it only before a reset"),
    Register("FEATURES_AFTER", 0x70, 2, True, "the last layer that hears the features: once it is closed, those of the "
             "next frame are added; only in a design with a cell whose every gate hears the input", only="branches"),
    Register("LOGIT_CONSUME", 0x71, 3, True, "the same as `LAYER_CONSUME0` for the logits", only="diffuses"),
    *_bank("LAYER_ACTIVATION", 0x78, MAX_LAYERS, 2, "number of the activation of layer {}, see `spec/cells.py`; only "
           "in a design with the cell `unit`", only="choices"),
    *_bank("LAYER_CONSUME", 0x80, MAX_LAYERS, 3, "layer {}: 0: its sums are held; 1 + k: they are consumed, and get "
           "the bias columns from k on again (3: none); in a design with the rule `diffuse`, as all below",
           only="diffuses"),
    *_bank("RULE", 0x88, MAX_SIGNALS, 15, "rule of signal {}: bit 0 `diffuse`, bit 1 reset to zero, bits 2 to 4 "
           "`leak`, bits 5 to 14 `step` - 1", only="diffuses"),
    *_bank("LOWEST", 0x90, MAX_SIGNALS, 12, "most negative Δ of signal {}, in two's complement", only="diffuses"),
    *_bank("HIGHEST", 0x98, MAX_SIGNALS, 11, "most positive Δ of signal {}", only="diffuses"),
    *_bank("OFFSET", 0xA0, MAX_SIGNALS, 14, "`step` - Θ of signal {}, in two's complement; follows `THETA{}`",
           only="diffuses"),
    *_bank("LAYER_LANES", 0xA8, MAX_LAYERS, 16, "lanes that layer {} uses of each accumulator word; in a design that "
           "convolves, as all below", "lanes", only="convolves"),
    *_bank("CONV", 0xB0, MAX_SIGNALS, 9, "convolution that hears signal {}: bit 0: there is one, bits 1 to 2 log2 of "
           "the stride, bits 3 to 5 `kernel` - 1, bits 6 to 8 `padding`", only="convolves"),
    *_bank("CONV_PIXEL", 0xB8, MAX_SIGNALS, 16, "numbers of the elements of a pixel of signal {}", only="convolves"),
    *_bank("CONV_PIXELS", 0xC0, MAX_SIGNALS, RECIPROCAL_BITS + 1, "2**18 / `CONV_PIXEL{}`, rounded up",
           only="convolves"),
    *_bank("CONV_WIDTH", 0xC8, MAX_SIGNALS, 8, "pixels in a row of the image that is signal {}", only="convolves"),
    *_bank("CONV_WIDTHS", 0xD0, MAX_SIGNALS, RECIPROCAL_BITS + 1, "2**18 / `CONV_WIDTH{}`, rounded up",
           only="convolves"),
    *_bank("CONV_RIGHT", 0xD8, MAX_SIGNALS, 8, "the last column of the output of signal {}'s convolution",
           only="convolves"),
    *_bank("CONV_BOTTOM", 0xE0, MAX_SIGNALS, 8, "the last row of the output", only="convolves"),
    *_bank("CONV_ROW", 0xE8, MAX_SIGNALS, 16, "accumulator words of a row of the output", "acc_words",
           only="convolves"),
    *_bank("CONV_KERNEL_ROW", 0xF0, MAX_SIGNALS, 16, "weight words of a row of the kernel, for one input channel",
           only="convolves"),
    *_bank("CONV_KERNEL", 0xF8, MAX_SIGNALS, 7, "weights of the kernel, for one input and one output channel",
           only="convolves"),
)
BY_NAME = {r.name: r for r in REGISTERS}

DENSE, EARLY, STREAM = 1, 2, 4      # bits of MODE
STOP_REGISTERS = ("STOP_MARGIN", "STOP_HOLD", "STOP_CLASSES", "STOP_RELEASE", "STOP_SMOOTH")


def stop_registers(stop: Stop | None, classes: int, dense: bool = False) -> dict[str, int]:
    """Register name → value for a stop rule, or none, and dense mode, on a network with so many classes."""
    if stop is None:
        return {"MODE": DENSE * dense, **dict.fromkeys(STOP_REGISTERS, 0)}
    return {"MODE": DENSE * dense | EARLY | STREAM * stop.stream, "STOP_MARGIN": stop.margin, "STOP_HOLD": stop.hold,
            "STOP_CLASSES": classes if stop.classes is None else stop.classes, "STOP_SMOOTH": stop.smooth,
            "STOP_RELEASE": stop.margin if stop.release is None else stop.release}


def register_table() -> str:
    """The map as a Markdown table."""
    rows = [f"| 0x{r.address:02x} | `{r.name}` | {r.bits} | {'rw' if r.writable else 'r'} | {r.doc} |\n"
            for r in REGISTERS]
    return "| address | name | bits | access | meaning |\n|---|---|---|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    print(register_table(), end="")
