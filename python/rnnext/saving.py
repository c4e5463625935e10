"""Model folders and weight files: written as a whole or not at all, and read without running anything in them.

A folder holds `config.json` (with the number of its format and the names of all files), `model.safetensors`, the optimizer's
state if it was wanted, and whatever other files its writer adds. Knows files; does not know what a model is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from rnnext._version import __version__

FORMAT = 1
CONFIG, WEIGHTS, OPTIMIZER = "config.json", "model.safetensors", "optimizer.safetensors"
_FILES_BEFORE = (CONFIG, WEIGHTS, OPTIMIZER, "vocabulary.json", "labels.json")  # when config.json did not name them

_NEW = "rnnext-new-"  # in the name of what is being written
_LONGEST = 255 - len(f"..{_NEW}") - 12  # bytes of a name that leave room for this and twelve digits
_STATE, _CHECK, _ARRAY, _NAMED = "state.json", "state.crc32", "state.array/", "named/"

Arrays = dict[str, npt.NDArray[Any]]


def arrays_to_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as a safetensors file."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    size = sum(array.nbytes for array in contiguous.values())
    _expect_memory(size, size)  # the file is made, then copied
    return safetensors.numpy.save(contiguous)


def arrays_from_bytes(content: bytes, path: Path) -> Arrays:
    """The named arrays of a safetensors file. ValueError if it is damaged; the error calls it `path`."""
    _expect_memory(len(content))
    try:
        return dict(safetensors.numpy.load(content))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
    except KeyError as error:
        raise ValueError(f"{path}: has an array of type {error}, which NumPy does not have; convert it to float32") from error


def _expect_memory(*sizes: int) -> None:
    """MemoryError unless so many bytes are to be had. Without them safetensors would abort the process, or hang."""
    for_headers = 1 << 20
    _ = [np.empty(size + for_headers, np.uint8) for size in sizes]


def arrays_from_file(path: Path) -> Arrays:
    """The named arrays of the safetensors file at `path`. FileNotFoundError if there is none, ValueError if it is damaged."""
    return arrays_from_bytes(path.read_bytes(), path)


def state_to_bytes(state: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A state (dicts, lists, numbers, strings and NumPy arrays) and named arrays, as one safetensors file."""
    packed: Arrays = {}
    text = json.dumps({"rnnext": __version__, "state": _packed(state, packed)})
    named = {f"{_NAMED}{name}": np.ascontiguousarray(array) for name, array in arrays.items()} | packed
    return arrays_to_bytes({_STATE: np.frombuffer(text.encode(), np.uint8), _CHECK: _checksum(text, named), **named})


def state_from_file(path: Path) -> tuple[dict[str, Any], Arrays]:
    """What `state_to_bytes` was given. FileNotFoundError if there is no such file, ValueError if it is another or damaged."""
    found = arrays_from_file(path)
    if _STATE not in found or _CHECK not in found:
        raise ValueError(f"{path}: not a checkpoint of a training, but another safetensors file")
    text = found.pop(_STATE).tobytes().decode(errors="replace")
    if not np.array_equal(found.pop(_CHECK), _checksum(text, found)):
        raise ValueError(f"{path}: damaged, its checksum does not fit")
    state = _unpacked(json.loads(text)["state"], found)
    return state, {name.removeprefix(_NAMED): array for name, array in found.items() if name.startswith(_NAMED)}


def _packed(value: Any, arrays: Arrays) -> Any:
    """The value with its arrays moved to `arrays`, and their names in their place."""
    if isinstance(value, np.ndarray):
        name = f"{_ARRAY}{len(arrays)}"
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _packed(each, arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(each, arrays) for each in value]
    return value


def _unpacked(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return np.array(arrays[value[_ARRAY]])
        return {key: _unpacked(each, arrays) for key, each in value.items()}
    return [_unpacked(each, arrays) for each in value] if isinstance(value, list) else value


def _checksum(text: str, arrays: Arrays) -> npt.NDArray[np.int64]:
    check = zlib.crc32(text.encode())
    for name in sorted(arrays):
        check = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), check))
    return np.array([check], np.int64)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file as a whole, or leave what was there untouched. Of a link the target is replaced.

    A pipe or a device is not replaced but written to.
    """
    if _is_special(path):
        Path(path).write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    with errors_name(path), scratch(path) as new:
        _write(new, content, instead_of=path)
        os.replace(new, path)


def write_folder(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Write a model folder: all files, or none and what was there stays.

    The folder is written next to its place and moved there; an older one is moved aside first, and comes back if the move
    fails. Of a link the target is replaced. FileExistsError if something else than a model is there, which is not ours to
    delete; ValueError for a file's name that is not plain.
    """
    folder = Path(os.path.realpath(folder))
    for name in files:
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"save: {name!r} is not a plain file name")
    with _alone_in(folder.parent):  # else another saver may move it in between
        check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with errors_name(folder), scratch(folder, folder=True) as new:
        for name, content in files.items():
            _write(new / name, content, instead_of=folder / name)
        with contextlib.suppress(FileNotFoundError):
            _change_mode(new, stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
        with _alone_in(folder.parent):
            _put_in_place(new, folder)


@contextlib.contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Let what the system refuses name the path that the caller knows."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a pipe or a device is there. `path` is not resolved first: what /dev/stdout stands for may have no name."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write(path: Path, content: bytes, *, instead_of: Path) -> None:
    """Write a file that takes the place of another, if that is there, with the same permissions."""
    with path.open("wb") as file:
        keep_mode(file.fileno(), instead_of)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def keep_mode(descriptor: int, path: Path) -> None:
    """Give an open file the permissions of the one whose place it will take, if that is there."""
    with contextlib.suppress(FileNotFoundError):
        _change_mode(descriptor, stat.S_IMODE(path.stat().st_mode))


def _change_mode(file: int | Path, mode: int) -> None:
    """Set permissions, if they are others: on a share, as of Windows, all files have the same, and setting them is refused."""
    if stat.S_IMODE(os.stat(file).st_mode) != mode:
        os.chmod(file, mode)


@contextlib.contextmanager
def scratch(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """A new file or folder next to the target, to be written and moved there; deleted if that fails.

    It is locked meanwhile, and its name says what it is. Afterwards whatever has such a name and is locked by nobody is
    deleted: savers that were killed have left it behind.
    """
    beginning = f".{_short(target.name)}.{_NEW}"
    while True:
        new = target.with_name(f"{beginning}{os.urandom(6).hex()}")
        _create(new, folder=folder)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(new))
            except (BlockingIOError, FileNotFoundError):
                continue  # before it was locked, another saver took it for something that was left behind
            try:
                yield new
            except BaseException:
                _delete(new)
                raise
        break
    with contextlib.suppress(OSError):
        for left in target.parent.iterdir():
            if left.name.startswith(beginning):
                with contextlib.suppress(OSError), locked(left) as ours:
                    if ours:
                        _delete(left)


def _short(name: str) -> str:
    """The name itself, or if it is too long for anything to be added, its beginning with a hash of the whole name."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST:
        return name
    import hashlib

    return f"{name[:50]}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def _create(path: Path, *, folder: bool) -> None:
    """Create a file or folder with the process's default permissions."""
    if folder:
        path.mkdir()
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Lock the file or folder in this block; False if its file system has no locks.

    BlockingIOError if somebody else has locked it, FileNotFoundError if it is not there any more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        ours = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            ours = False
        if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            raise FileNotFoundError(f"{path}: another one has taken its place")
        yield ours
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other savers and readers from moving models in this folder; waits for one that does. Nothing without locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Closing is not enough: a child that another thread has forked meanwhile has the lock, too, until it ends.
            stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)
        yield


def _delete(path: Path) -> None:
    if path.is_dir():
        import shutil  # a twentieth of the time of `import rnnext`, for what is seldom needed

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_replaceable(folder: Path) -> None:
    """FileExistsError unless a model may be written here: there is nothing, an empty folder, or a model and nothing else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder}: exists and is not a model folder; choose another place")
    if os.path.ismount(folder):
        raise FileExistsError(f"{folder}: a file system is mounted here, which cannot be moved; choose a folder in it")
    names = _names_in(folder)
    for entry in folder.iterdir():
        if names is None:
            raise FileExistsError(f"{folder}: exists and is not a model folder (no {CONFIG} of a model); choose another place")
        if not (entry.name in names and _is_file(entry)):
            raise FileExistsError(f"{folder}: has {entry.name!r} beside a model, which would be lost; choose another place")


def _names_in(folder: Path) -> frozenset[str] | None:
    """The names of the files that the model in this folder was saved in; None if there is no model."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        if not isinstance(config, dict) or not config.keys() >= {"format", "rnnext"}:
            return None
        return frozenset(map(str, config.get("files", _FILES_BEFORE)))
    except (OSError, TypeError, ValueError, RecursionError):
        return None


def _is_file(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _put_in_place(new: Path, folder: Path) -> None:
    """Move a finished folder to its place; the older one is moved aside first, and deleted afterwards."""
    if not folder.exists():
        os.rename(new, folder)
        return
    aside = _aside(folder)
    if aside.exists():  # an earlier save was killed before or while it deleted this
        try:
            check_replaceable(aside)
        except FileExistsError as error:
            raise FileExistsError(f"{error}; it is in the way of {folder}") from None
        _remove(aside)
    _move_aside(folder, aside)
    try:
        os.rename(new, folder)
    except BaseException:
        os.rename(aside, folder)
        raise
    with contextlib.suppress(OSError):
        _remove(aside)


def _move_aside(folder: Path, aside: Path) -> None:
    """Move a model's folder. In a container, one that comes from the image cannot be moved, but copied and deleted."""
    try:
        os.rename(folder, aside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(folder, aside)
        try:
            _remove(folder)
        except BaseException:
            _copy(aside, folder)
            _remove(aside)
            raise


def _copy(folder: Path, target: Path) -> None:
    """Copy a model's files into another folder, which is at every moment a model folder or empty."""
    import shutil

    target.mkdir(exist_ok=True)
    names = _names_in(folder) or frozenset()
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name != CONFIG):
        if entry.name in names and _is_file(entry):
            shutil.copy2(entry, target, follow_symlinks=False)


def _remove(folder: Path) -> None:
    """Delete a model folder so that it is at every moment a model folder or empty, and can still be deleted after a kill.

    What somebody has just put beside the model stays, and the folder with it: OSError.
    """
    names = _names_in(folder) or frozenset()
    for entry in folder.iterdir():  # of what is in the folder: names in a file may be paths to anywhere
        if entry.name in names - {CONFIG} and _is_file(entry):
            entry.unlink()
    if os.listdir(folder) == [CONFIG]:
        (folder / CONFIG).unlink()
    folder.rmdir()


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{_short(folder.name)}.rnnext-old")


def config_to_bytes(config: Mapping[str, Any], others: Iterable[str] = ()) -> bytes:
    """A configuration as the config.json of this version, beside files of these names."""
    files = {"files": sorted([CONFIG, *others])}
    return (json.dumps({"format": FORMAT, "rnnext": __version__, **files, **config}, indent=1) + "\n").encode()


def read_folder(folder: str | os.PathLike[str], names: Collection[str]) -> dict[str, bytes]:
    """The contents of the named files, as far as a model folder has them, all from the same save even if another is running.

    FileNotFoundError if there is no model.
    """
    folder = Path(folder)
    while True:
        if not _is_there(Path(os.path.realpath(folder))):
            raise FileNotFoundError(f"{folder}: no model here, expected a folder with {CONFIG} and {WEIGHTS}")
        with contextlib.suppress(FileNotFoundError):  # of what was moved aside and is being deleted
            before = folder.stat()
            found = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
            after = folder.stat()
            if (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino) and CONFIG in found:
                return found


def _is_there(folder: Path) -> bool:
    """Whether there is a model. Waits for a save that is moving it, and puts it back if a save was killed meanwhile."""
    if (folder / CONFIG).is_file():
        return True
    with _alone_in(folder.parent):
        if not folder.exists() and (_aside(folder) / CONFIG).is_file():
            os.rename(_aside(folder), folder)
        return (folder / CONFIG).is_file()


def config_from_bytes(content: bytes, path: Path) -> dict[str, Any]:
    """The configuration in a config.json. ValueError if it is not one of this format; the error calls it `path`."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: format is {found!r}, expected {FORMAT}; a later rnnext may have written it")
    return dict(config)


def check_arrays(path: Path, found: Arrays, expected: Mapping[str, tuple[int, ...]], *, finite: bool = True) -> None:
    """ValueError unless `found` holds float32 arrays of exactly those names and shapes; `finite`: without NaN and infinity."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing or extra:
        raise ValueError(f"{path}: weights missing: {missing or 'none'}; not of this model: {extra or 'none'}")
    for name, shape in expected.items():
        if found[name].shape != shape or found[name].dtype != np.float32:
            raise ValueError(f"{path}: {name} is {found[name].dtype} {found[name].shape}, expected float32 {shape}")
        if finite and not np.isfinite(found[name]).all():
            raise ValueError(f"{path}: {name} has NaN or infinity, expected finite numbers")
