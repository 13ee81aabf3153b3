"""Every importer by the suffix of the files that it reads: those of this package, and those of installed packages.

An importer is a function of a path that returns a ``FloatChain`` or raises a ``ModelError`` of one line.  A package
adds one by an entry point of the group ``tidegate.importers``: its name is the suffix, such as ``.h5``, its object the
function.  The package is imported when such a file is first read.  An entry point cannot replace an importer.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from ..golden.chain import FloatChain
from ..host.contents import MODEL, contents_of
from ..spec.errors import ModelError
from .tensors import already_a_model, read_checkpoint_file, read_safetensors

IMPORTERS = "tidegate.importers"
Importer = Callable[[Path], FloatChain]


def _read_onnx(path: Path) -> FloatChain:
    from .onnx_file import read_onnx  # onnx is an extra

    return read_onnx(path)


def _read_exported(path: Path) -> FloatChain:
    from .exported import read_exported

    return read_exported(path)


def _read_nir(path: Path) -> FloatChain:
    from .nir_file import read_nir  # nir is an extra

    return read_nir(path)


_OWN: dict[str, Importer] = {".onnx": _read_onnx, ".safetensors": read_safetensors, ".pt": read_checkpoint_file,
                             ".pth": read_checkpoint_file, ".pt2": _read_exported,
                             ".nir": _read_nir}


def suffixes() -> tuple[str, ...]:
    """Suffixes of the files that can be read."""
    return tuple(dict.fromkeys((*_OWN, *(entry.name for entry in entry_points(group=IMPORTERS)))))


def read_network(path: str | Path) -> FloatChain:
    """The network in a file; ModelError if there is none, or it is not one that the engine holds."""
    path = Path(path)
    if path.is_dir():
        raise ModelError(f"'{path}' is a folder; give the file of a trained network, which ends in "
                         f"{', '.join(suffixes())}")
    if path.is_file():
        _check_readable(path)
        if contents_of(path) == MODEL:
            raise already_a_model(path)
    importer = _OWN.get(path.suffix.lower())
    if importer is None:
        for entry in entry_points(group=IMPORTERS, name=path.suffix.lower()):
            try:
                importer = entry.load()
            except (ImportError, AttributeError) as error:
                raise ModelError(f"the importer of {path.suffix} cannot be loaded from '{entry.value}' ({error}); "
                                 "repair its package") from None
    if importer is None:
        raise ModelError(f"no importer reads '{path.name}'; give a file that ends in {', '.join(suffixes())}, or "
                         "install the package that reads it")
    if not path.is_file():
        raise ModelError(f"no network file '{path}'; check the name")
    return importer(path)


def _check_readable(path: Path) -> None:
    """ModelError for a file that cannot be read, or that is empty."""
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read ({error.strerror or error}); change its permissions, or copy it "
                         "again") from None
    if empty:
        raise ModelError(f"'{path}' is empty (0 bytes); write it again")
