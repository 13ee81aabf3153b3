"""Import rules: light where a host needs it light, and nothing depends on the simulator by accident."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "amaranth", "cocotb", "pydantic"}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in the file; relative ones resolved."""
    package = path.relative_to(ROOT).parts[1:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("package", ["spec", "host", "clips"])
def test_a_host_needs_nothing_heavy(package):
    modules = []
    for path in sources(f"sw/tidegate/{package}"):
        modules.append(".".join(path.relative_to(ROOT / "sw").with_suffix("").parts).removesuffix(".__init__"))
        assert not {n.split(".")[0] for n in imported(path)} & HEAVY, path
    program = f"import {', '.join(modules)}, sys; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", f"importing tidegate.{package} imports {done.stdout}"


def test_what_a_user_imports_is_light():
    program = f"from tidegate import Board, load_model; import sys; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_gateware_imports_only_the_spec_and_amaranth():
    allowed = ("tidegate.spec", "tidegate_hw", "amaranth", "amaranth_boards")
    for path in sources("hw/tidegate_hw"):
        for name in imported(path):
            own = any(inside(name, package) for package in allowed)
            assert own or name.split(".")[0] in sys.stdlib_module_names, f"{path} imports {name}"


def test_only_the_virtual_board_verify_and_bench_import_the_simulator():
    users = {str(path.relative_to(ROOT)) for path in sources("sw/tidegate", "hw/tidegate_hw")
             if any(inside(name, "tidegate_sim") for name in imported(path))}
    assert users == {"sw/tidegate/host/board.py", "sw/tidegate/commands/bench.py", "sw/tidegate/commands/models.py"}


def test_relative_imports_are_resolved():
    """The checks above see through ``from ..spec import``."""
    names = imported(ROOT / "sw/tidegate/host/link.py")
    assert "tidegate.spec.packets.encode_packet" in names and "tidegate.host.transport.Transport" in names


TRAIN = ("data", "tasks", "judge", "fit", "study", "publish")      # each may use those before it


def test_the_packages_of_training_are_layers():
    for path in sources("sw/tidegate/train"):
        *_, package = ("", *path.relative_to(ROOT / "sw/tidegate/train").parts[:1])
        for name in imported(path):
            if not name.startswith("tidegate.train."):
                continue
            used = name.split(".")[2]
            if package in TRAIN and used in TRAIN:
                assert TRAIN.index(used) <= TRAIN.index(package), f"{path} imports {name}"


def test_no_module_needs_itself():
    """No import circle, wherever in a file and even for types only."""
    modules = {".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__"): path
               for folder in ("sw", "hw", "sim") for path in sources(folder)}
    needs = {}
    for module, path in modules.items():
        found = {max((m for m in modules if inside(name, m)), key=len, default="") for name in imported(path)}
        needs[module] = {m for m in found if m and m != module and not inside(module, m)}
    done = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' → '.join([*way[way.index(module):], module])}"
        if module not in done:
            for needed in sorted(needs[module]):
                follow(needed, (*way, module))
            done.add(module)

    for module in modules:
        follow(module, ())
