"""`import trtnet` against `import numpy`, each in a fresh interpreter; they take turns.

The time is taken inside the interpreter, around the import statement alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from _common import interleaved, milliseconds, options, report, spread

TARGET = 2.0
STATEMENTS = {
    "numpy": "import numpy",
    "trtnet": "import trtnet",
    "parts": "from trtnet import nn, functional",
    "record": "import trtnet; trtnet.record, trtnet.nn.Linear",
    "torch": "import torch",
}


def fresh(statement: str) -> Callable[[], float]:
    code = f"import time; started = time.perf_counter(); {statement}; print(time.perf_counter() - started)"

    def run() -> float:
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    return run


def main() -> None:
    given = options(__doc__ or "")
    repeats = 2 if given.quick else 25
    chosen = {name: statement for name, statement in STATEMENTS.items() if not (given.quick and name == "torch")}
    variants = {name: fresh(statement) for name, statement in chosen.items()}
    samples = interleaved(variants, repeats, warmup=1 if given.quick else 2, collect=False)
    times = {name: spread(s) for name, s in samples.items()}
    results, rows = [], []
    for name, found in times.items():
        statement = chosen[name]
        ratio = found["median"] / times["numpy"]["median"]
        results.append({"statement": statement, "seconds": found, "times_numpy": ratio})
        rows.append([statement, *(milliseconds(found[key]) for key in ("min", "median", "p90")), f"{ratio:.2f}"])
    columns = ["statement", "fastest, ms", "median, ms", "90th percentile, ms", "times numpy"]
    title = f"Imports in fresh interpreters, {repeats} runs each (target: import trtnet at most {TARGET} times numpy)"
    report("importing", title, columns, rows, results, given, target_ratio=TARGET)


if __name__ == "__main__":
    main()
