"""The rules of docs/design.md and CONTRIBUTING.md that a machine can hold: who includes and imports whom, and the ISA wall."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp"
PACKAGE = ROOT / "python" / "rnnext"

pytestmark = pytest.mark.skipif(not CPP.is_dir(), reason="these rules are about the source tree, which is not here")


def includes(path: Path) -> set[str]:
    return set(re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.MULTILINE))


def imports(path: Path) -> set[str]:
    """First-level names of rnnext's modules that `path` imports anywhere, but for types alone."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    passed_over = {inner for block in for_types for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if node in passed_over:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("rnnext.")}


ISA_FILES = sorted((CPP / "isa").glob("*.cpp"))


@pytest.mark.parametrize("path", ISA_FILES, ids=lambda p: p.stem)
def test_isa_files_include_only_what_cannot_leak(path: Path) -> None:
    allowed = {"cstddef", "cstdint", "immintrin.h", "arm_neon.h", "../kernels.h", "inline.h", "kernels.inl", "table.inl"}
    assert includes(path) <= allowed


def test_inl_files_include_only_inl_files() -> None:
    for path in CPP.rglob("*.inl"):
        assert all(name.endswith(".inl") for name in includes(path)), path


def test_kernels_header_has_no_library_types() -> None:
    assert includes(CPP / "kernels.h") == {"cstddef", "cstdint"}


def test_one_file_names_openmp_and_one_folder_sees_python() -> None:
    sources = [p for p in CPP.rglob("*") if p.suffix in {".h", ".cpp", ".inl"}]
    openmp = {p.name for p in sources if re.search(r"#\s*pragma\s+omp|<omp\.h>", p.read_text(encoding="utf-8"))}
    python = {p.parent.name for p in sources if any(name.startswith(("pybind11", "Python.h")) for name in includes(p))}
    assert openmp == {"parallel.cpp"}
    assert python == {"bindings"}


# What each file of the engine may include of the engine: arrows point from time down to the table of kernels.
ARROWS = {
    "kernels.h": set(),
    "cells.h": {"kernels.h"},
    "view.h": {"kernels.h"},
    "buffer.h": set(),
    "parallel.h": set(),
    "matmul.h": {"view.h"},
    "schedule.h": {"kernels.h"},
    "plan.h": {"kernels.h"},
    "pack.h": {"cells.h", "view.h"},
    "packed_cell.h": {"buffer.h", "pack.h"},
    "recurrent.h": {"buffer.h", "cells.h", "packed_cell.h", "schedule.h", "view.h"},
    "weight_gradients.h": {"buffer.h", "parallel.h", "recurrent.h"},
    "optimizers.h": {"buffer.h", "kernels.h"},
    "dispatch.h": {"kernels.h"},
}


def test_every_header_has_its_place() -> None:
    assert {path.name for path in CPP.glob("*.h")} == ARROWS.keys()


@pytest.mark.parametrize("header", sorted(ARROWS))
def test_headers_point_one_way(header: str) -> None:
    assert {name for name in includes(CPP / header) if name.endswith(".h")} <= ARROWS[header]


def test_equations_and_tiles_know_no_threads_and_no_intrinsics() -> None:
    for path in [*CPP.rglob("*.inl")]:
        code = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"\b_mm\d*_|\bv[a-z]+q_f32|std::|thread", code), path


# What each module and folder of the package may import of the package, from what knows least to what knows most.
_TRAINED = {"losses", "metrics", "optimizers"}
MODULES: dict[str, set[str]] = {
    "reference": set(),
    "parameters": set(),
    "_version": set(),
    "_checks": set(),
    "_locks": set(),
    "_random": {"_checks", "_locks"},
    "_inputs": {"_checks"},
    "_feeds": {"_inputs"},
    "data": {"_checks", "_inputs", "saving"},
    "_progress": set(),
    "_config": {"_core", "_version"},
    "_openmp": {"_core"},
    "preprocessing": {"_checks"},
    "_tokens": set(),
    "text": {"_checks", "_tokens", "preprocessing"},
    "datasets": {"_locks", "_tokens"},
    "saving": {"_version"},
    "activations": {"parameters", "_core"},
    "initializers": {"parameters", "_checks", "_random"},
    "regularizers": {"parameters", "_checks"},
    "constraints": {"parameters", "_checks"},
    "layers": {"parameters", "activations", "initializers", "regularizers", "constraints", "_checks", "_random", "_core"},
    "losses": {"parameters", "_checks"},
    "metrics": {"parameters", "_checks", "losses"},
    "optimizers": {"parameters", "_checks", "_core"},
    "evaluation": set(),
    "plots": {"evaluation"},
    "evidence": {"_tokens", "layers", "models", "parameters", "preprocessing"},
    "report": {"evaluation", "evidence"},
    "callbacks": {"parameters", "_checks", "metrics", "plots"},
    "_stack": {"_checks", "_random", "parameters", "layers", "_inputs"},
    "_training": {"_stack", "layers", *_TRAINED, "callbacks", "_feeds", "_inputs", "_progress"},
    "_persistence": {"_random", "_stack", "callbacks", "_training", "layers", *_TRAINED, "parameters", "saving"},
    "models": {"_persistence", "_training", "_stack", "layers", *_TRAINED, "callbacks", "saving", "parameters"}
    | {"_checks", "_feeds", "_inputs", "_progress", "_random", "_version", "initializers"},
    "classifier": {
        "_checks",
        "_progress",
        "_random",
        "callbacks",
        "datasets",
        "layers",
        "losses",
        "models",
        "optimizers",
        "saving",
        "text",
    },
    "utils": {"_random", "preprocessing"},
    "backend": {"utils"},
    "ops": {"parameters", "_checks", "_core"},
    "interop": {
        "_persistence",
        "constraints",
        "initializers",
        "regularizers",
        "layers",
        "models",
        "ops",
        "parameters",
        "saving",
    },
}
ABOVE_ALL = {"__init__", "__main__", "cli", "bench"}  # what people call; nobody imports it


def files_of(module: str) -> list[Path]:
    folder = PACKAGE / module
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{module}.py"]


def test_every_module_has_its_place() -> None:
    modules = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert modules == MODULES.keys() | ABOVE_ALL


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_point_one_way(module: str) -> None:
    for path in files_of(module):
        assert imports(path) - {module} <= MODULES[module], path


def test_modules_make_no_circle() -> None:
    placed: set[str] = {"_core"}
    while rest := MODULES.keys() - placed:
        ready = {module for module in rest if MODULES[module] <= placed}
        assert ready, f"a circle among {sorted(rest)}"
        placed |= ready


def test_nobody_imports_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__main__.py" and path.parent.name != "cli":
            assert "cli" not in imports(path), path


CORE_DEPENDENCIES = {"numpy", "safetensors", "tqdm", "rnnext"}


def test_a_plain_import_needs_the_core_dependencies_only() -> None:
    """What else a module wants is imported where it is used."""
    for module in sorted([*MODULES, "__init__", "__main__", "cli"]):
        for path in files_of(module):
            names = set()
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add((node.module or "").split(".")[0])
            assert names <= CORE_DEPENDENCIES | set(sys.stdlib_module_names), path


def test_reference_needs_numpy_only() -> None:
    tree = ast.parse((PACKAGE / "reference.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {"numpy", "__future__", "typing", "dataclasses", "collections"}


def isa_objects() -> list[Path]:
    return sorted(ROOT.glob("build/**/isa/*.cpp.o"))


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_isa_objects_export_one_table_each() -> None:
    objects = isa_objects()
    if not objects:
        pytest.skip("no object files: the package was not built in this tree (pip install . leaves them in build/)")
    for path in objects:
        isa = path.name.removesuffix(".cpp.o")
        listed = subprocess.run(["nm", "-C", "--defined-only", str(path)], check=True, capture_output=True, text=True).stdout
        symbols = [line.split(maxsplit=2)[1:] for line in listed.splitlines() if line]
        shared = [name for kind, name in symbols if kind.isupper() or kind in {"u", "v", "w"}]
        assert shared == [f"rnnext::{isa}_table"], f"{path}: {shared}"
        assert not [name for _, name in symbols if "_GLOBAL__sub_I" in name], f"{path} has a static constructor"


def test_no_flags_that_tie_a_build_to_a_machine() -> None:
    flags = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8") + (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"-march=native|-mtune=native|-ffast-math|-Ofast", flags)
