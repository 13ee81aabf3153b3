"""No two public things share a name: a class or function of sw/, hw/ and sim/ is defined in one module."""

import ast
from collections import defaultdict
from pathlib import Path

from tidegate.commands.app import app

ROOT = Path(__file__).parents[2]
BENCHES = "sim/tidegate_sim/benches/"       # test benches: each is read beside the stage that it drives, and no library

# Definitions that share a name on purpose, and why.  The modules of each may define it, and no other one.
CELLS = frozenset(f"sw/tidegate/golden/cells/{cell}.py" for cell in ("gru", "lstm", "unit"))
SEQUENCES = frozenset(file for file in CELLS if "unit" not in file)     # units have no sequence form of their own
TENSORS_AND_SIGNALS = frozenset(("sw/tidegate/golden/fixed.py", "hw/tidegate_hw/fixed.py"))
INTENDED = {
    # a cell is a module, and ``golden.cells.GoldenCell`` is what all of them have
    **dict.fromkeys(("Module", "Stages", "frame", "observed", "step"), CELLS),
    **dict.fromkeys(("Sequence", "advance", "layer", "scaled", "sequence", "traced"), SEQUENCES),
    # one operation of the contract: on integers, on tensors, on signals
    **dict.fromkeys(("round_shift", "saturate"), TENSORS_AND_SIGNALS | {"sw/tidegate/spec/fixed.py"}),
    "requantise": TENSORS_AND_SIGNALS,
    **dict.fromkeys(("sigmoid", "tanh"), frozenset(("sw/tidegate/golden/fixed.py", "sw/tidegate/spec/activation.py"))),
    # a board's clock; each is an instance of that board's own primitive
    "PLL": {f"hw/tidegate_hw/boards/{board}.py" for board in ("icebreaker", "ulx3s")},
    # the package offers the function without importing torch
    "run": {"sw/tidegate/train/__init__.py", "sw/tidegate/train/fit/training_run.py"},
}


def defined(text: str) -> set[str]:
    """Public names of classes and functions, and of what stands for a class, that a module's text defines."""
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {t.id for t in targets if isinstance(t, ast.Name) and t.id[:1].isupper() and not t.id.isupper()}
    return {name for name in names if not name.startswith("_") and name != "main"}


def verbs() -> set[tuple[str, str]]:
    """(module, name) of the functions that are commands of ``tidegate``: a verb may be called as what it calls."""
    apps = [app, *(group.typer_instance for group in app.registered_groups if group.typer_instance)]
    commands = [command.callback for each in apps for command in each.registered_commands]
    commands += [each.registered_callback.callback for each in apps if each.registered_callback]
    return {(f.__module__, f.__name__) for f in commands if f}


def places() -> dict[str, set[str]]:
    """Public name → the files that define it."""
    found, skipped = defaultdict(set), verbs()
    for folder in ("sw", "hw", "sim"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__")
            file = path.relative_to(ROOT).as_posix()
            if not file.startswith(BENCHES):
                for name in defined(path.read_text(encoding="utf-8")):
                    if (module, name) not in skipped:
                        found[name].add(file)
    assert len(found) > 500
    return found


def test_no_two_public_things_share_a_name():
    found = places()
    twice = {name: sorted(files) for name, files in found.items()
             if len(files) > 1 and not files <= INTENDED.get(name, set())}
    assert not twice, "\n".join(f"{name}: {', '.join(files)}" for name, files in twice.items())
    assert not (stale := {name for name, files in INTENDED.items() if found[name] != files}), stale


def test_what_counts_as_a_definition():
    text = ("class A: pass\nBits = int\nc = 1\nLIMIT = 2\n_D = int\ndef e(): pass\nasync def f(): pass\n"
            "def _g(): pass\nHeld: type = int\ndef main(): pass\n")
    assert defined(text) == {"A", "Bits", "e", "f", "Held"}
    assert ("tidegate.commands.fit", "fit") in verbs() and ("tidegate.commands.data", "near_words") in verbs()
