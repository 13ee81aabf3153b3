"""Runs cocotb benches on Verilated Amaranth components.

A pytest test builds the component, a module in ``benches/`` holds its cocotb coroutines:

    run_bench(Encoder(8), "tidegate_sim.benches.encoder", "encoder", env={"LANES": "8"})

With ``TIDEGATE_WAVES=DIR`` every run leaves a waveform (VCD) in DIR, with ``TIDEGATE_SEED=N`` all use one seed;
``python -m tidegate_sim.runner --waves DIR [NAMES]`` does both for the tests in tests/rtl.
"""

import argparse
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from amaranth.lib.wiring import Component

from tidegate.spec.errors import TidegateError
from tidegate_hw.verilog import rtlil_text, verilog_text

from . import verilator


def unavailable() -> str | None:
    """Why benches cannot run here, in one line that says what to do; None if they can."""
    try:
        import cocotb_tools.runner  # noqa: F401
        import find_libpython
    except ImportError:
        return "cocotb is not installed; run `pip install 'tidegate[sim]'`"
    if find_libpython.find_libpython() is None:
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return f"cocotb needs Python's shared library; run `sudo apt install lib{python}`"
    return None


def run_bench(component: Component, bench_module: str, name: str, *, testcase: str | Sequence[str] | None = None,
              seed: int | None = None, waveform: Path | None = None, env: Mapping[str, str] | None = None,
              depth: int = 1, timeout: float = 300) -> int:
    """Run the cocotb tests of a module on a component; gives the number of tests that passed.

    ``name``: the Verilog module's name for the component.  ``testcase``: run only these tests.  ``seed``:
    cocotb's random seed (``cocotb.RANDOM_SEED`` in the bench), new if not given, always printed.
    ``waveform``: VCD file to write.  ``env``: environment of the bench.  ``depth``: levels of the hierarchy whose
    signals the bench can use; 1: the ports.  ``timeout``: seconds of wall time.

    AssertionError, naming tests and seed, if a test fails, none ran, or the simulator ended without a result;
    TidegateError if the tools are missing.
    """
    __tracebackhide__ = True
    if reason := unavailable():
        raise TidegateError(reason)
    if seed is None:
        seed = int(os.environ.get("TIDEGATE_SEED") or secrets.randbits(31))
    if waveform is None and (folder := os.environ.get("TIDEGATE_WAVES")):
        waveform = Path(folder) / f"{_run_name(bench_module, name)}.vcd"
    executable = build_bench(component, name, depth, traced=waveform is not None)
    print(f"{bench_module} on {name}: seed {seed}")
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        results, log = Path(folder) / "results.xml", Path(folder) / "log"
        end = _simulate(executable, bench_module, name, testcase, seed, waveform, env or {}, timeout, results, log)
        output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        passed, failed = _read_results(results)
    if failed or not passed or end:
        print(output)
        what = f"failed: {', '.join(failed)}" if failed else "no test ran" if not passed else end
        if not passed and not failed and end:
            what = f"no result: {end}"
        raise AssertionError(f"{bench_module} on {name}, seed {seed}: {what}")
    return len(passed)


def build_bench(component: Component, name: str, depth: int = 1, traced: bool = False) -> Path:
    """The Verilated component with cocotb's main(), from the cache or compiled now.

    Most of a bench's time is Python's and the compiler's, so the compiler does not optimise.
    """
    import cocotb_tools.config

    libraries = cocotb_tools.config.libs_dir
    recipe = verilator.VerilatorBuild(
        top=name, harness=Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp",
        flags=("--vpi", "--public-depth", str(depth), "--timescale", "1ns/1ps", *(("--trace",) if traced else ())),
        ldflags=(f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"),
        optimise="-O0", what=f"bench of {name}",
    )
    rtlil = rtlil_text(component, name)
    return verilator.build_executable(recipe, rtlil.encode(), lambda: verilog_text(rtlil))


def _simulate(executable: Path, bench_module: str, name: str, testcase, seed: int, waveform: Path | None,
              env: Mapping[str, str], timeout: float, results: Path, log: Path) -> str:
    """Run the simulator; gives "" or how it ended other than well."""
    from cocotb_tools.runner import get_runner

    arguments = []
    if waveform is not None:
        waveform.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--trace", "--trace-file", str(waveform.absolute())]
    runner = get_runner("verilator")
    # cocotb's runner looks for the executable under the toplevel's name
    (results.parent / name).symlink_to(executable)
    # ends the simulator after the time, and also if this process is killed
    prefix = f"timeout --foreground -k 5 {timeout} setpriv --pdeathsig KILL"
    with _environment(SIM_CMD_PREFIX=prefix, WAVES=None, GUI=None):
        try:
            runner.test(
                test_module=bench_module, hdl_toplevel=name, hdl_toplevel_lang="verilog", testcase=testcase,
                seed=seed, build_dir=results.parent, test_dir=results.parent, results_xml=str(results),
                extra_env=dict(env), test_args=arguments, log_file=log,
            )
        except RuntimeError as error:
            code = str(error).rsplit(" ", 1)[-1]
            return f"more than {timeout} s" if code == "124" else f"simulator ended with status {code}"
        except SystemExit as error:
            return f"simulator ended with status {error.code}"
    return ""


def _read_results(path: Path) -> tuple[list[str], list[str]]:
    """Names of the tests that passed and of those that failed, from cocotb's JUnit file; empty if there is none."""
    passed, failed = [], []
    if path.is_file():
        for case in ElementTree.parse(path).iter("testcase"):
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                failed.append(str(case.get("name")))
            elif "skipped" not in kinds:
                passed.append(str(case.get("name")))
    return passed, failed


def _run_name(bench_module: str, name: str) -> str:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit("::", 1)[-1].split(" ")[0]
    return re.sub(r"[^\w.-]+", "_", f"{name}-{test or bench_module.rsplit('.', 1)[-1]}").strip("_")


@contextmanager
def _environment(**values: str | None):
    """Environment variables for a while; None removes one."""
    before = {key: os.environ.get(key) for key in values}

    def apply(settings: Mapping[str, str | None]) -> None:
        for key, value in settings.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value

    apply(values)
    try:
        yield
    finally:
        apply(before)


def main() -> int:
    import pytest

    parser = argparse.ArgumentParser(prog="python -m tidegate_sim.runner", description="Run all RTL benches.")
    parser.add_argument("names", nargs="*", help="only tests whose name contains one of these words")
    parser.add_argument("--waves", metavar="DIR", help="leave a waveform (VCD) of every run in DIR")
    parser.add_argument("--seed", help="one seed for all")
    options = parser.parse_args()
    waves = str(Path(options.waves).absolute()) if options.waves else None
    with _environment(TIDEGATE_WAVES=waves, TIDEGATE_SEED=options.seed):
        return pytest.main(["tests/rtl", *(["-k", " or ".join(options.names)] if options.names else [])])


if __name__ == "__main__":
    sys.exit(main())
