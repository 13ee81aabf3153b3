"""What the registers of a core hold for a network: its places in the memories, its thresholds, rules and images."""

from .formats import BIAS_DELTAS, reciprocal
from .layout import Layout
from .network import Network
from .registers import BY_NAME
from .rules import Diffuse


def register_values(layout: Layout) -> dict[str, int]:
    """Register name → value (see ``registers.py``); MODE is left alone."""
    net = layout.network
    values = {
        "LAYERS": len(net.layers), "FEATURES": net.features, "CLASSES": net.classes, "BIAS_BASE": layout.bias_base,
        "ACC_WORDS": layout.acc_words, "LOGIT_TARGET": layout.logit_target,
    }
    for s, column in enumerate(layout.columns):
        values |= {f"COLUMN_BASE{s}": column.base,
                   f"COLUMN_LENGTH{s}": column.length, f"COLUMN_TARGET{s}": column.target}
    for l, layer in enumerate(net.layers):
        values |= {f"LAYER_SIZE{l}": layout.sizes[l], f"LAYER_WORDS{l}": layout.words[l],
                   f"LAYER_FRAC{l}": layer.weight_frac, f"LAYER_STATE{l}": layout.state_base[l],
                   f"LAYER_TARGET{l}": layout.layer_target[l],
                   f"LAYER_CELL{l}": layout.design.cells.index(layer.cell.name)}
        if layout.design.snapshot:
            values[f"LAYER_CLOSE{l}"], values[f"LAYER_REST{l}"] = layout.closing(l)
        if layout.design.choices and layer.cell.activations:
            values[f"LAYER_ACTIVATION{l}"] = layer.cell.activations.index(layer.activation)
    if layout.design.branches:
        values["FEATURES_AFTER"] = net.features_after
    if layout.design.diffuses:
        values |= _consuming(layout) | _rules(layout)
    if layout.design.convolves:
        values |= _images(layout)
    return values | threshold_registers(net)


def _consuming(layout: Layout) -> dict[str, int]:
    """Register name → value: which layers consume, and which of their bias columns are added again."""
    names = [f"LAYER_CONSUME{l}" for l in range(len(layout.network.layers))] + ["LOGIT_CONSUME"]
    layers = (*layout.network.layers, layout.network.classifier)
    return {name: consuming(layer.bias_columns) if layer.consumes else 0
            for name, layer in zip(names, layers, strict=True)}


def _images(layout: Layout) -> dict[str, int]:
    """Register name → value of the convolutions, and of the lanes that layers use."""
    values, p = {}, layout.design.lanes
    for l, layer in enumerate(layout.network.layers):
        values[f"LAYER_LANES{l}"] = min(layer.channels, p) if layer.conv else p
    for s in range(layout.design.layers + 1):       # what a model before left in those of other signals, too
        values[f"CONV{s}"] = 0
        if layout.design.skips:
            values[f"SKIP_CONV{s}"] = 0
    for s in range(layout.network.signals):
        for prefix, (conv, column) in zip(("", "SKIP_"), layout.images(s), strict=False):
            values |= {
                f"{prefix}CONV{s}": 1 | (conv.stride.bit_length() - 1) << 1 | (conv.kernel - 1) << 3
                | conv.padding << 6 | conv.depthwise << 9,
                f"CONV_PIXEL{s}": layout.pixel_numbers(s),
                f"CONV_PIXEL_RECIPROCAL{s}": reciprocal(layout.pixel_numbers(s)),
                f"CONV_WIDTH{s}": conv.width, f"CONV_WIDTH_RECIPROCAL{s}": reciprocal(conv.width),
                f"{prefix}CONV_RIGHT{s}": conv.out_width - 1, f"{prefix}CONV_BOTTOM{s}": conv.out_height - 1,
                f"{prefix}CONV_ROW{s}": conv.out_width * column.length,
                f"{prefix}CONV_KERNEL_ROW{s}": conv.kernel * column.each,
                f"{prefix}CONV_KERNEL{s}": conv.kernel**2,
            }
    for s, column in layout.skips.items():
        values |= {f"SKIP_COLUMN_BASE{s}": column.base, f"SKIP_COLUMN_LENGTH{s}": column.length,
                   f"SKIP_COLUMN_TARGET{s}": column.target}
    return values


def _rules(layout: Layout) -> dict[str, int]:
    """Register name → value of the rules of the signals."""
    values = {}
    for s in range(layout.network.signals):
        values |= rule_registers(s, layout.network.rule(s), layout.network.thresholds[s])
    return values


def threshold_registers(network: Network) -> dict[str, int]:
    """Register name → value: those that follow the thresholds of a network."""
    values = {f"THETA{s}": theta for s, theta in enumerate(network.thresholds)}
    offsets = {f"OFFSET{s}": rule_registers(s, rule, network.thresholds[s])[f"OFFSET{s}"]
               for s, rule in enumerate(network.rules) if rule is not None}
    return values | offsets


def rule_registers(signal: int, rule: Diffuse | None, theta: int) -> dict[str, int]:
    """Register name → value of a signal's rule with this threshold, in a design with the rule ``diffuse``."""
    names = [f"{name}{signal}" for name in ("THETA", "RULE", "LOWEST", "HIGHEST", "OFFSET")]
    values = (theta, 0, 0, 0, 0) if rule is None else (
        theta, 1 | rule.zero << 1 | rule.leak << 2 | (rule.step - 1) << 5, rule.lowest * rule.step,
        rule.highest * rule.step, rule.step - theta)
    return {name: value % (1 << BY_NAME[name].bits) for name, value in zip(names, values, strict=True)}


def consuming(bias_columns: int) -> int:
    """Value of a register LAYER_CONSUME, of a layer that gets so many of its bias columns again."""
    return 1 + len(BIAS_DELTAS) - bias_columns
