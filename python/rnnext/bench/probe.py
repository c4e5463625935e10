"""What a process costs: run as a program, it imports one module, does one task and prints what that took.

    python probe.py MODULE.py FUNCTION ARGUMENTS.json

It imports nothing of rnnext, which would count towards a peer's memory.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path


def peak_memory() -> float:
    """The most memory, in MB, that this process has held; 0 where the system does not tell.

    Not getrusage's ru_maxrss, which begins with what the parent held when it started the process.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def main() -> None:
    """Run FUNCTION(**ARGUMENTS)() of MODULE.py."""
    sys.path.pop(0)  # this folder: its modules are nobody's top-level names
    module, function, arguments = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("probed", module)
    if spec is None or spec.loader is None:
        raise ImportError(module)
    probed = importlib.util.module_from_spec(spec)
    sys.modules["probed"] = probed
    spec.loader.exec_module(probed)
    getattr(probed, function)(**json.loads(Path(arguments).read_text(encoding="utf-8")))()
    print(json.dumps({"peak_mb": peak_memory()}))


if __name__ == "__main__":
    main()
