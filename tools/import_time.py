"""What `import runtime` adds to `import numpy, cv2`, in CPU time and memory of fresh interpreters.

python -m tools.import_time --json benchmarks/results/import-time.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType

from benchmarks.host.environment import CHECKOUT, environment
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.errors import CheckFailed
from runtime.files import written_whole

PROGRAM = "python -m tools.import_time"
LIMIT_MS = 30.0
BASE = "import numpy, cv2"
STATEMENTS = MappingProxyType(
    {
        "base": BASE,
        "runtime": f"{BASE}, runtime",
        "segmenter": f"{BASE}; from runtime import Segmenter",
    }
)


@dataclass(frozen=True)
class ImportTimes:
    """cpu_ms: of every process, user and system, interpreter included, by the statement's name.
    peak_mib: the largest resident set of any of them.
    """

    statements: Mapping[str, str]
    cpu_ms: Mapping[str, Sequence[float]]
    peak_mib: Mapping[str, float]

    def added_ms(self, name: str) -> float:
        """The median above the base's; what both have in common is no part of it."""
        return median(self.cpu_ms[name]) - median(self.cpu_ms["base"])


def import_times(rounds: int, statements: Mapping[str, str] = STATEMENTS) -> ImportTimes:
    """Measure every statement in turn, `rounds` times, so that other load meets all alike."""
    cpu_ms: dict[str, list[float]] = {name: [] for name in statements}
    peak_mib = dict.fromkeys(statements, 0.0)
    for number in range(rounds + 1):
        for name, statement in statements.items():
            milliseconds, mebibytes = _cost(statement)
            if number:  # the first round compiles and fills the disk's cache
                cpu_ms[name].append(milliseconds)
                peak_mib[name] = max(peak_mib[name], mebibytes)
    return ImportTimes(dict(statements), cpu_ms, peak_mib)


def _cost(statement: str) -> tuple[float, float]:
    """CPU time in milliseconds and the largest resident set in MiB of one process."""
    # Seconds, and on Linux kilobytes: getrusage(2).
    program = (
        f"{statement}\nimport resource; used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    seconds, kilobytes = map(float, done.stdout.split())
    return 1000 * seconds, kilobytes / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(_measure, PROGRAM, sys.argv[1:] if arguments is None else arguments)


def _measure(arguments: Sequence[str]) -> int:
    parser = Parser("", "What `import runtime` adds to `import numpy, cv2`.", f"{PROGRAM}")
    parser.prog = PROGRAM
    parser.add_argument("--rounds", type=positive, default=25, help="default 25")
    parser.add_argument("--json", type=Path, help="where to write the record")
    given = parser.parse_args(arguments)
    times = import_times(given.rounds)
    added = {name: round(times.added_ms(name), 2) for name in STATEMENTS if name != "base"}
    for name, milliseconds in added.items():
        print(f"{STATEMENTS[name]}: {milliseconds:.1f} ms of CPU time added")
    if given.json is not None:
        record = {
            "command": " ".join((PROGRAM, *arguments)),
            "environment": asdict(environment()),
            "limit_ms": LIMIT_MS,
            "added_ms": added,
            **asdict(times),
        }
        with written_whole(given.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if added["runtime"] > LIMIT_MS:
        raise CheckFailed(f"import runtime adds {added['runtime']:.1f} ms; at most {LIMIT_MS:g}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
