"""What a file holds, by its first bytes, whatever its name says: for messages about a file of another kind."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile

NPZ, NPY = "an archive of numpy arrays (.npz)", "a numpy array (.npy)"
CHECKPOINT, SCRIPT = "a checkpoint of torch.save", "a TorchScript program"
PROGRAM, SAFETENSORS = "a program of torch.export", "a safetensors file"
HDF5 = "an HDF5 file"
MODEL, PART, PICKLE = "a model of Tidegate", "a part of a zip archive", "a pickle of Python"
_FIRST = 4096
_SHOWN = 24         # characters of a text


def contents_of(path: str | Path) -> str | None:
    """A few words, such as "a numpy array (.npy)"; None if it is not known, or the file cannot be read."""
    try:
        with open(path, "rb") as file:
            first = file.read(_FIRST)
    except OSError:
        return None
    if not first:
        return "nothing (0 bytes)"
    if first.startswith(b"PK"):
        return _archive(Path(path))
    if first.startswith(b"\x93NUMPY"):
        return NPY
    if first.startswith(b"\x89HDF"):
        return HDF5
    if first[8:9] == b"{" and first[9:10] in b'"}':
        return MODEL if b'"tidegate":' in first else SAFETENSORS
    if first[:1] == b"\x80" and first[1:2] in b"\x02\x03\x04\x05":
        return PICKLE
    return _text(first)


def _archive(path: Path) -> str:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, OSError, ValueError):
        return PART
    inside = [name.partition("/")[2] for name in names]
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    if "archive_format" in inside or "archive_format" in names:
        return PROGRAM
    if "data.pkl" in inside:
        return SCRIPT if any(name.startswith("code/") for name in inside) else CHECKPOINT
    return f"a zip archive ({', '.join(names[:3]) or 'empty'}{', ...' if len(names) > 3 else ''})"


def _text(first: bytes) -> str | None:
    try:
        text = first[:_FIRST - 4].decode("utf-8")     # the last character may be cut
    except UnicodeDecodeError:
        return None
    if not all(c.isprintable() or c in "\t\r\n" for c in text):
        return None
    return f"text, which begins with '{' '.join(text.split())[:_SHOWN]}'"
