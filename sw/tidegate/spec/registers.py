"""The register map, the only copy: gateware, driver and docs (``python -m tidegate.spec.registers``) read it here."""

from dataclasses import dataclass

from .design import Design
from .formats import RECIPROCAL_BITS
from .network import MAX_LAYERS, MAX_SIGNALS, USUAL_LAYERS
from .stop import HOLD_MAX, SMOOTH_MAX, STOP_BITS, Stop


@dataclass(frozen=True)
class Register:
    """``name`` at ``address``; ``bits`` wide; written by the host if ``writable``, else read only.

    ``capacity``: which of a design's capacities the value makes sense up to.  ``layers``: layers that a design must
    have for the register to be of use.  ``among``: which of a design's lists the value is an index of.  ``only``: which
    property a design must have for the register to be there; without, its address is unknown, and so it is if the
    register is of a layer beyond the fourth that the design does not have.  ``usual_bits``: its bits in designs of up
    to four layers, if they need fewer.
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
    usual_bits: int = 0

    def there(self, design: Design) -> bool:
        """Whether a design has the register."""
        return self.layers <= max(design.layers, USUAL_LAYERS) and (
            self.only is None or bool(getattr(design, self.only)))

    def most_bits(self, design: Design) -> int:
        """Bits of it that a design looks at when the host writes."""
        return self.usual_bits if self.usual_bits and design.layers <= USUAL_LAYERS else self.bits

    def width(self, design: Design) -> int:
        """Bits that a design keeps of it; a value that is too large for them becomes the largest they hold.

        That is more than the capacity, so that no nonsense becomes sense.
        """
        if self.layers > design.layers or not self.there(design):
            return 0
        if self.among is not None:
            return (len(getattr(design, self.among)) - 1).bit_length()
        if self.capacity is None:
            return self.most_bits(design)
        most = getattr(design, self.capacity)
        return min(self.most_bits(design), (most + 1).bit_length()) if most else 0

    def kept(self, value: int, design: Design) -> int:
        """What a design keeps of a written ``value`` (32 bits)."""
        return min(value % (1 << self.most_bits(design)), (1 << self.width(design)) - 1)


PAGE = 0x100           # from the registers of a layer to those of the fourth after it
_SECOND = 0x800         # from those of a signal's first convolution to those of its second


def _bank(name: str, address: int, count: int, bits: int, doc: str, capacity: str | None = None,
          among: str | None = None, only: str | None = None) -> list[Register]:
    first = count - MAX_LAYERS      # a signal's registers, but not a layer's, are of use without a layer
    return [Register(f"{name}{k}", address + PAGE * _page(k - first) + k - USUAL_LAYERS * _page(k - first), bits, True,
                     doc.format("n", "n"), capacity, k + 1 - first, among, only) for k in range(count)]


def _page(layer: int) -> int:
    """Each four layers, with the signals that they make, have a page of addresses; the first also has the features."""
    return max(layer, 0) // USUAL_LAYERS


def _column(prefix: str, address: int, what: str, only: str | None = None) -> list[Register]:
    """Of columns."""
    names = (("COLUMN_BASE", 0x10, 24, "weight word of the first column of ", "weight_words"),
             ("COLUMN_LENGTH", 0x18, 16, "weight words of a column, or accumulator words of a position of an output: ",
              "acc_words"),
             ("COLUMN_TARGET", 0x20, 16, "first accumulator word that is fed: ", "acc_words"))
    return [register for name, at, bits, doc, capacity in names
            for register in _bank(prefix + name, address + at, MAX_SIGNALS, bits, doc + what, capacity, only=only)]


def _convolution(prefix: str, address: int, only: str, what: str) -> list[Register]:
    """Of one of the convolutions that hear a signal."""
    names = (
        ("CONV", 0xB0, 10, "bit 0: there is one, bits 1 to 2 log2 of the stride, bits 3 to 5 `kernel` - 1, bits 6 to 8 "
         "`padding`, bit 9: depthwise", None),
        ("CONV_RIGHT", 0xD8, 8, "the last column of the output", None),
        ("CONV_BOTTOM", 0xE0, 8, "the last row of the output", None),
        ("CONV_ROW", 0xE8, 16, "accumulator words of a row of the output", "acc_words"),
        ("CONV_KERNEL_ROW", 0xF0, 16, "weight words of a row of the kernel, for one input channel", None),
        ("CONV_KERNEL", 0xF8, 7, "weights of the kernel, for one input and one output channel", None))
    return [register for name, at, bits, doc, capacity in names
            for register in _bank(prefix + name, address + at, MAX_SIGNALS, bits, f"{what}: {doc}", capacity,
                                  only=only)]


REGISTERS: tuple[Register, ...] = (
    Register("MODE", 0x00, 3, True,
             "bit 0 `dense`: every element of every signal is sent; bit 1 `early`: decide, and run no frame after a "
             "decision; bit 2 `stream`: but go on, and decide each word once (see `spec/stop.py`)"),
    Register("LAYERS", 0x01, MAX_LAYERS.bit_length(), True, "number of layers, 0 = no model loaded", usual_bits=3),
    Register("FEATURES", 0x02, 16, True, "elements of a feature frame", "features"),
    Register("CLASSES", 0x03, 16, True, "logits of the classifier", "classes"),
    Register("BIAS_BASE", 0x04, 24, True, "weight word of the first bias column", "weight_words"),
    Register("ACC_WORDS", 0x05, 16, True, "accumulator words in use: the length of a bias column", "acc_words"),
    Register("LOGIT_TARGET", 0x06, 16, True, "first accumulator word of the logits", "acc_words"),
    Register("FRAMES", 0x07, 32, False, "frames taken since the last reset; those after a decision are not run"),
    *_bank("THETA", 0x08, MAX_SIGNALS, 13, "Θ of signal {} in LSBs of 2**-8"),
    *_column("", 0, "signal {}"),
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
    Register("FEATURES_AFTER", 0x70, 5, True, "the last layer that hears the features: once it is closed, those of the "
             "next frame are added; only in a design with a cell whose every gate hears the input", only="branches",
             usual_bits=2),
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
    *_bank("CONV_PIXEL", 0xB8, MAX_SIGNALS, 16, "numbers of the elements of a pixel of signal {}", only="convolves"),
    *_bank("CONV_PIXEL_RECIPROCAL", 0xC0, MAX_SIGNALS, RECIPROCAL_BITS + 1, "2**18 / `CONV_PIXEL{}`, rounded up",
           only="convolves"),
    *_bank("CONV_WIDTH", 0xC8, MAX_SIGNALS, 8, "pixels in a row of the image that is signal {}", only="convolves"),
    *_bank("CONV_WIDTH_RECIPROCAL", 0xD0, MAX_SIGNALS, RECIPROCAL_BITS + 1, "2**18 / `CONV_WIDTH{}`, rounded up",
           only="convolves"),
    *_convolution("", 0, "convolves", "the convolution that hears signal {}"),
    *_column("SKIP_", _SECOND, "the second convolution that hears signal {}", "skips"),
    *_convolution("SKIP_", _SECOND, "skips", "the second convolution that hears signal {}, of another layer"),
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
    """The map as a Markdown table, with a row for all registers that differ in a number only."""
    rows = {}
    for r in REGISTERS:
        number = r.name[len(bank := r.name.rstrip("0123456789")) :]
        rows.setdefault(bank if number else r.name, []).append((r, number))
    lines = []
    for bank, ((r, first), *more) in rows.items():
        name = f"`{bank}{first}` to `{bank}{more[-1][1]}`" if more else f"`{bank}`"
        lines.append(f"| 0x{r.address:02x} | {name} | {r.bits} | {'rw' if r.writable else 'r'} | {r.doc} |\n")
    return "| address | name | bits | access | meaning |\n|---|---|---|---|---|\n" + "".join(lines)


if __name__ == "__main__":
    print(register_table(), end="")
