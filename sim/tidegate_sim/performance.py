"""Writes the tables of docs/performance.md from what ``tidegate bench`` measured (``make performance``).

    python -m tidegate_sim.performance [DOCS]

DOCS (default ``docs``) holds performance.md, performance.json (``bench --json``) and tools.json (``bench --tools
--json``).
"""

import json
import re
import sys
from pathlib import Path

# EdgeDRNN's RTL under Verilator, measured by us: 40 features, H = 128, 12.7 % occupancy, no wait for weights; single
# runs.  Lanes → cycles dense, cycles, sparsity efficiency.
EDGEDRNN = {8: (8159, 1127, 0.92), 16: (4088, 575, 0.90), 64: (1034, 228, 0.58)}
TARGET = 0.13


def fill_page(text: str, rows: list[dict], tools: dict) -> str:
    """The page with its tables, between ``<!-- NAME -->`` and ``<!-- end NAME -->``, written anew."""
    synthetic = [row for row in rows if row["target_occupancy"] is not None]
    speech = [row for row in rows if row["target_occupancy"] is None]
    tables = {"checked": _checked(rows), "compared": _compared(synthetic), "efficiency": _efficiency(synthetic),
              "cycles": _cycles(synthetic), "speech": _cycles(speech), "tools": _tools(tools)}
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if len(block.findall(text)) != 1:
            raise SystemExit(f"the page needs one place for '{name}'")
        text = block.sub(lambda m, table=table: m[1] + table + m[2], text)
    return text


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _checked(rows: list[dict]) -> str:
    frames = sum(row["frames"] + row["dense_frames"] for row in rows)
    wrong, off = (sum(row[name] for row in rows) for name in ("mismatches", "model_mismatches"))
    return (f"{len(rows)} rows, {frames:,} frames on RTL: {wrong} integers differ from golden, "
            f"{off} frames take other cycles than the cycle model says.\n")


def _compared(rows: list[dict]) -> str:
    """Ours at H = 128 and 13 % beside EdgeDRNN."""
    lines = []
    for row in rows:
        if row["gru"] == [128] and row["target_occupancy"] == TARGET:
            theirs = EDGEDRNN.get(row["lanes"])
            dense, _, efficiency = theirs or (None, None, None)
            lines.append([str(row["lanes"]), f"{row['cycles_dense']:.0f}", str(dense or "-"),
                          f"{row['cycles_delta']:.0f}", f"{row['speedup']:.2f}x", f"{row['ideal_speedup']:.2f}x",
                          f"**{row['sparsity_efficiency']:.3f}**", f"{efficiency:.2f}" if efficiency else "-"])
    return _table(["lanes", "cycles dense", "theirs", "cycles delta", "speedup", "ideal", "efficiency", "theirs"],
                  lines)


def _efficiency(rows: list[dict]) -> str:
    """Sparsity efficiency, a line a network and lanes, a column an occupancy."""
    wanted = sorted({row["target_occupancy"] for row in rows})
    lines = {}
    for row in rows:
        line = lines.setdefault((row["gru"][0], row["lanes"]), {})
        line[row["target_occupancy"]] = f"{row['sparsity_efficiency']:.3f}"
    return _table(["H, lanes", *(f"{100 * x:g} %" for x in wanted)],
                  [[f"{h}, {p}", *(line.get(x, "-") for x in wanted)] for (h, p), line in sorted(lines.items())])


def _cycles(rows: list[dict]) -> str:
    lines = [[row["network"], str(row["lanes"]), f"{row['occupancy']:.1%}", f"{row['cycles_dense']:.1f}",
              f"{row['cycles_delta']:.1f}", f"{row['speedup']:.2f}x", f"{row['ideal_speedup']:.2f}x",
              f"{row['sparsity_efficiency']:.3f}", f"{row['lane_utilisation_dense']:.1%}",
              f"{row['effective_gops_at_100mhz']:.1f}"] for row in rows]
    return _table(["network", "lanes", "occupancy", "cycles dense", "cycles delta", "speedup", "ideal", "efficiency",
                   "lanes busy, dense", "GOp/s at 100 MHz"], lines)


def _tools(tools: dict) -> str:
    board, golden, step = tools["virtual_board"], tools["golden"], tools["training_step"]
    lines = [
        [f"virtual board, `{board['model']}`, {board['lanes']} lanes, terminal and driver included",
         f"{board['frames_per_second']:,.0f} frames/s, {board['times_target']:.0f} times "
         f"{board['target_rate']} frames/s"],
        [f"golden, `{golden['model']}`, one-second utterances in batches of {golden['batch']}, features ready",
         f"{golden['utterances_per_second']:,.0f} utterances/s"],
        ["the same from samples, features included",
         f"{golden['utterances_per_second_with_features']:,.0f} utterances/s"],
        [f"training step, one layer, {step['size']}", f"{step['milliseconds']:.1f} ms"],
        ["the same without its kernel in C, in turn in the same process",
         f"{step['without_kernel_milliseconds']:.1f} ms"],
        ["`torch.nn.GRU`, the same size, in turn in the same process",
         f"{step['torch_milliseconds']:.1f} ms; ratio {step['ratio']:.2f}"],
    ]
    return f"On {tools['machine']}:\n\n" + _table(["what", "speed"], lines)


def main() -> None:
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    page = docs / "performance.md"
    rows, tools = (json.loads((docs / name).read_text(encoding="utf-8")) for name in ("performance.json", "tools.json"))
    page.write_text(fill_page(page.read_text(encoding="utf-8"), rows, tools), encoding="utf-8")


if __name__ == "__main__":
    main()
