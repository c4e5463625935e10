"""How files and folders are written: as a whole or not at all, whoever is killed, and nobody else's are deleted."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_cases import bits
from saving_cases import data, trained

from rnnext import saving
from rnnext.models import load_model


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_move_that_fails_leaves_what_was_there(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    folder = tmp_path / "model"
    model.save(folder)
    before, rename, calls = contents(folder), os.rename, []

    def fails(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError("no space")
        rename(*arguments)

    monkeypatch.setattr(os, "rename", fails)
    model.fit(*data(), verbose=0)
    with pytest.raises(OSError, match="no space"):
        model.save(folder)
    monkeypatch.undo()
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load_model(folder)
    model.save(folder)
    assert bits(load_model(folder)) == bits(model)


@pytest.mark.parametrize("late", [False, True])
def test_a_folder_that_cannot_be_moved_is_copied(late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, where the folder is a part of the image. `late`: somebody puts a file beside the model meanwhile."""
    model, folder, rename = trained(), tmp_path / "model", os.rename
    model.save(folder)
    before = contents(folder)

    def across(old: Path, new: Path) -> None:
        if old == folder:
            if late:
                (folder / "notes.txt").write_text("dear")
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(old, new)

    monkeypatch.setattr(os, "rename", across)
    model.fit(*data(), verbose=0)
    if late:
        with pytest.raises(OSError, match="not empty"):
            model.save(folder)
        assert contents(folder) == {**before, "notes.txt": b"dear"}
    else:
        model.save(folder)
        assert bits(load_model(folder)) == bits(model)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    model.save(tmp_path / "model")
    model.save_weights(tmp_path / "weights")
    before = contents(tmp_path / "model"), (tmp_path / "weights").read_bytes()
    model.fit(*data(), verbose=0)

    def fails(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "model")
    with pytest.raises(OSError, match="disk full"):
        model.save_weights(tmp_path / "weights")
    assert (contents(tmp_path / "model"), (tmp_path / "weights").read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"model", "weights"}


def test_a_save_that_was_cut_off_between_its_moves_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut between the two moves, the old model stands aside and its place is empty."""
    model = trained()
    folder = tmp_path / "model"
    model.save(folder)
    os.rename(folder, saving._aside(folder))
    assert bits(load_model(folder)) == bits(model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    # Cut off after both moves: the old one is still there, and the next save deletes it.
    model.save(saving._aside(folder))
    model.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("deletions", range(4))
def test_a_save_that_was_cut_off_while_it_deleted_the_old_model(
    deletions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old model is deleted file by file: wherever that is cut off, the new model is there, and the next can be saved."""

    class Killed(BaseException):
        pass

    model, folder, done = trained(), tmp_path / "model", []
    model.save(folder)

    def counted(delete: Callable[..., None]) -> Callable[..., None]:
        def deleting(*arguments: Any, **options: Any) -> None:
            if len(done) == deletions:
                raise Killed
            done.append(delete(*arguments, **options))

        return deleting

    model.fit(*data(), verbose=0)
    with monkeypatch.context() as patched:
        for name in ("unlink", "rmdir"):
            patched.setattr(Path, name, counted(getattr(Path, name)))
        with pytest.raises(Killed):
            model.save(folder)
    assert saving._aside(folder).exists()
    assert bits(load_model(folder)) == bits(model)
    model.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert bits(load_model(folder)) == bits(model)


OURS, ITS = (saving.config_to_bytes({"by": who}) for who in ("ours", "its"))

# Saves as it is told, "folder" or "file", and is killed or waits for a line when its bytes are written but not in their place.
SAVER = """
import os, signal, sys
from rnnext import saving
kind, path, end = sys.argv[1:]
def fsync(descriptor):
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.readline()
os.fsync = fsync
its = saving.config_to_bytes({"by": "its"})
saving.write_folder(path, {saving.CONFIG: its}) if kind == "folder" else saving.write_file(path, its)
"""


def saver(kind: str, path: Path, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SAVER, kind, str(path), end]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def save(kind: str, path: Path) -> None:
    if kind == "folder":
        saving.write_folder(path, {saving.CONFIG: OURS})
    else:
        saving.write_file(path, OURS)


def saved(kind: str, path: Path) -> bytes:
    return (path / saving.CONFIG if kind == "folder" else path).read_bytes()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_killed_saver_left_is_cleared_away_by_the_next(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    save(kind, path)
    with saver(kind, path, "killed") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert saved(kind, path) == OURS
    assert len(list(tmp_path.iterdir())) == 2
    unrelated = {".model.settings", ".models.rnnext-new-12345678", ".model"}  # none of them is this target's
    for name in unrelated:
        (tmp_path / name).write_text("dear")
    save(kind, path)
    assert saved(kind, path) == OURS
    assert {each.name for each in tmp_path.iterdir()} == {"model"} | unrelated


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_another_is_writing_is_left_to_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other writer is another process, or another call in this process."""
    path, fsync, other = tmp_path / "model", os.fsync, []

    def saves_too(descriptor: int) -> None:
        if not other:
            other.append(descriptor)
            save(kind, path)
        fsync(descriptor)

    with saver(kind, path, "waits") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        (scratch,) = tmp_path.iterdir()
        monkeypatch.setattr(os, "fsync", saves_too)
        save(kind, path)
        assert other
        assert set(tmp_path.iterdir()) == {scratch, path}
        assert saved(kind, path) == OURS
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == [path]
    assert saved(kind, path) == ITS


def test_what_is_no_model_is_never_deleted(tmp_path: Path) -> None:
    model = trained()
    folder = tmp_path / "documents"
    folder.mkdir()
    model.save(folder)  # an empty folder is taken
    load_model(folder)
    for unrelated in (tmp_path / "letters", saving._aside(folder)):
        unrelated.mkdir()
        (unrelated / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"letters: exists and is not a model folder \(no config.json of a model\)"):
        model.save(tmp_path / "letters")
    with pytest.raises(FileExistsError, match="is in the way"):
        model.save(folder)
    for unrelated in (tmp_path / "letters", saving._aside(folder)):
        assert contents(unrelated) == {"letter.txt": b"dear"}
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileExistsError, match="file: exists and is not a model folder"):
        model.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "text"
    load_model(folder)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("config", ['{"name": "my web app"}', '{"format": 1, "rnnext"', "[]", ""])
def test_another_programs_config_json_makes_no_model_folder(config: str, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "src").mkdir(parents=True)
    (folder / "config.json").write_text(config)
    with pytest.raises(FileExistsError, match="app: exists and is not a model folder"):
        trained().save(folder)
    assert (folder / "config.json").read_text() == config
    assert {path.name for path in folder.iterdir()} == {"config.json", "src"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_lies_beside_a_model_is_never_deleted(kind: str, tmp_path: Path) -> None:
    model, folder = trained(), tmp_path / "model"
    model.save(folder, extras={"words.txt": b"a b"})
    before = contents(folder)
    model.save(folder)  # without the extra file, which was the model's own
    assert contents(folder).keys() == before.keys() - {"words.txt"}
    if kind == "file":
        (folder / "notes.txt").write_text("dear")
    else:
        (folder / "notes.txt").mkdir()
    with pytest.raises(FileExistsError, match=r"model: has 'notes\.txt' beside a model, which would be lost"):
        model.save(folder)
    assert (folder / "notes.txt").exists()
    load_model(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_names_in_a_file_that_point_elsewhere_delete_nothing(tmp_path: Path) -> None:
    model, path, letter = trained(), tmp_path / "model" / "config.json", tmp_path / "letter.txt"
    letter.write_text("dear")
    model.save(tmp_path / "model")
    config = json.loads(path.read_text())
    config["files"] += ["../letter.txt", str(letter), "..", "."]
    path.write_text(json.dumps(config))
    model.save(tmp_path / "model")
    assert letter.read_text() == "dear"
    load_model(tmp_path / "model")
    assert {each.name for each in tmp_path.iterdir()} == {"model", "letter.txt"}


def test_what_somebody_puts_beside_a_model_meanwhile_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder, rename = trained(), tmp_path / "model", os.rename
    model.save(folder)

    def late(old: Any, new: Any) -> None:
        if old == folder:
            (folder / "notes.txt").write_text("dear")
        rename(old, new)

    monkeypatch.setattr(os, "rename", late)
    model.save(folder)
    load_model(folder)
    assert (saving._aside(folder) / "notes.txt").read_text() == "dear"


def test_a_model_of_before_its_files_were_listed_is_replaced(tmp_path: Path) -> None:
    model, path = trained(), tmp_path / "model" / "config.json"
    model.save(tmp_path / "model")
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "files"}))
    model.save(tmp_path / "model")
    assert "files" in json.loads(path.read_text())


def test_a_place_where_a_file_system_is_mounted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(FileExistsError, match="volume: a file system is mounted here, which cannot be moved"):
        trained().save(tmp_path / "volume")


def test_permissions_stay_and_errors_name_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder, file = trained(), tmp_path / "model", tmp_path / "weights"
    model.save(folder)
    model.save_weights(file)
    for path, mode in ((folder, 0o700), (folder / "config.json", 0o600), (file, 0o604)):
        path.chmod(mode)
    model.save(folder)
    model.save_weights(file)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "config.json", file)] == [0o700, 0o600, 0o604]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for path, save in ((folder, model.save), (file, model.save_weights)):
        with pytest.raises(OSError, match="No space left on device") as found:
            save(path)
        assert found.value.filename == str(path)


def test_where_permissions_cannot_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a share, where all files have the same."""

    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuses)
    model = trained()
    for _ in range(2):
        model.save(tmp_path / "model")
        model.save_weights(tmp_path / "weights")
    monkeypatch.undo()
    (tmp_path / "weights").chmod(0o600)
    monkeypatch.setattr(os, "chmod", refuses)
    with pytest.raises(PermissionError, match="weights"):  # which others should not read
        model.save_weights(tmp_path / "weights")


def test_paths_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = trained()
    for path in ("model", "model/", Path("deep/er/model"), str(tmp_path / "mödel")):
        model.save(path)
        model.save(path)
        assert bits(load_model(path)) == bits(model)


def test_what_is_saved_has_the_rights_of_what_the_process_makes(tmp_path: Path) -> None:
    """They come from the umask, which is read without setting it: it belongs to all threads."""
    code = """
import os, sys
from pathlib import Path
from rnnext import saving
from rnnext.data import TokenFile
os.umask(0o027)
del os.umask
folder = Path(sys.argv[1])
saving.write_folder(folder / "model", {saving.CONFIG: b"{}"})
saving.write_file(folder / "file", b"")
TokenFile.write(folder / "tokens", [[1]], [0])
print(*(oct((folder / name).stat().st_mode & 0o777) for name in ("model", "model/config.json", "file", "tokens")))
"""
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["0o750", "0o640", "0o640", "0o640"]


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("moment", ["before it is opened", "while it is being locked"])
def test_one_that_was_taken_for_left_over_begins_again(
    kind: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, made = saving._create, []

    def hindered(path: Path, *, folder: bool) -> None:
        create(path, folder=folder)
        made.append(path)
        if len(made) > 1:
            return
        if moment == "before it is opened":
            saving._delete(path)
        else:
            others = os.open(path, os.O_RDONLY)
            fcntl.flock(others, fcntl.LOCK_EX)
            descriptors.append(others)

    descriptors: list[int] = []
    monkeypatch.setattr(saving, "_create", hindered)
    save(kind, tmp_path / "model")
    assert len(made) == 2
    assert saved(kind, tmp_path / "model") == OURS
    for descriptor in descriptors:  # the other deletes what it has locked, or was killed: then the next one does
        os.close(descriptor)
    save(kind, tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


# ---------------------------------------------------------------- links, and others at the same time


def test_through_a_link_what_it_points_to_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    model.save(tmp_path / "first")
    (tmp_path / "latest").symlink_to("first")
    (tmp_path / "link").symlink_to("weights")
    for _ in range(2):
        model.fit(*data(), verbose=0)
        model.save(tmp_path / "latest")
        model.save_weights(tmp_path / "link")
        assert bits(load_model(tmp_path / "first")) == bits(model)
        assert (tmp_path / "latest").is_symlink()
        assert (tmp_path / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"first", "latest", "link", "weights"}
    monkeypatch.chdir(tmp_path / "first")  # which goes away when it is replaced
    model.save("../first")
    assert bits(load_model(tmp_path / "first")) == bits(model)


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    """As with a device: what is saved goes into it, even where it could be replaced by a file."""
    pipe, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    (tmp_path / "link").symlink_to("pipe")
    saving.write_file(tmp_path / "link", b"all of it")
    assert pipe.is_fifo()
    reader.join(60)
    assert found == [b"all of it"]
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link"}
    with pytest.raises(IsADirectoryError):
        saving.write_file(tmp_path, b"")


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("name", ["m" * 255, "é" * 120])
def test_names_as_long_as_they_may_be(name: str, kind: str, tmp_path: Path) -> None:
    """What a killed saver left of this name is cleared away, but not what belongs to a name that only begins like it."""
    path, other = tmp_path / name, tmp_path / f"{name[:-1]}x"
    save(kind, path)
    for each in (path, other):
        with saver(kind, each, "killed") as process:
            assert process.wait(60) == -signal.SIGKILL
    left = {each.name for each in tmp_path.iterdir()} - {name}
    assert len(left) == 2
    assert all(each.startswith(f".{name[:40]}") for each in left)
    save(kind, path)
    assert saved(kind, path) == OURS
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_read_is_of_one_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another save comes between the reading of two files, and one more between looking for a file and reading it."""
    first, second, folder = trained(), trained(), tmp_path / "model"
    second.fit(*data(), epochs=2, verbose=0)
    first.save(folder)
    read, saves = Path.read_bytes, [second, first]

    def slow(path: Path) -> bytes:
        if path.name == saving.WEIGHTS and saves:
            saves.pop().save(folder)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", slow)
    assert bits(load_model(folder)) == bits(second)
    assert not saves


def test_several_save_and_load_at_the_same_time(tmp_path: Path) -> None:
    code = """
import json, sys
from rnnext import saving
folder, mine = sys.argv[1:]
for n in range(60):
    config = saving.config_to_bytes({"by": mine}, [saving.WEIGHTS])
    saving.write_folder(folder, {saving.CONFIG: config, saving.WEIGHTS: mine.encode()})
    found = saving.read_folder(folder, (saving.CONFIG, saving.WEIGHTS))
    assert json.loads(found[saving.CONFIG])["by"] == found[saving.WEIGHTS].decode(), found
"""
    folder = tmp_path / "model"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), name], stderr=subprocess.PIPE, text=True) for name in "abc"
    ]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_fork_does_not_hold_up_the_next_save(tmp_path: Path) -> None:
    """One that was forked while a model was moved to its place, as another thread's pool of processes may be."""
    code = """
import os, sys, time
from rnnext import saving
rename, children = os.rename, []

def forks(*paths):
    rename(*paths)
    if not children:
        children.append(os.fork())
        if not children[0]:
            time.sleep(60)
            os._exit(0)

os.rename = forks
for _ in range(2):
    saving.write_folder(sys.argv[1], {saving.CONFIG: saving.config_to_bytes({})})
assert os.waitpid(children[0], os.WNOHANG) == (0, 0), "the child has ended"
os.kill(children[0], 9)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=True, timeout=120)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says so how much memory a process has")
@pytest.mark.parametrize("doing", ["arrays_to_bytes(arrays)", "arrays_from_bytes(content, Path('weights'))"])
def test_too_little_memory_is_an_error_and_not_the_end_of_the_process(doing: str) -> None:
    code = f"""
import resource
from pathlib import Path
import numpy as np
from rnnext.saving import arrays_from_bytes, arrays_to_bytes
arrays = {{name: np.ones(1 << 21, np.float32) for name in "ab"}}
content = arrays_to_bytes(arrays)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
before = resource.getrlimit(resource.RLIMIT_AS)
for room in (0.0, 0.5, 0.9):
    resource.setrlimit(resource.RLIMIT_AS, (used + int(len(content) * room), before[1]))
    try:
        {doing}
    except MemoryError:
        print("MemoryError")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
{doing}
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout.split()) == (0, ["MemoryError"] * 3), run.stderr
