"""`refinenet doctor`: what this machine can do, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.arguments import DONE, Parser


def doctor(arguments: Sequence[str]) -> int:
    """refinenet doctor: what this machine can do, and how to mend what it can't."""
    parser = Parser(
        "doctor", "What this machine can do, and what mends the rest.", "refinenet doctor"
    )
    parser.parse_args(arguments)
    from runtime.app.doctor import examine

    findings = examine()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{'yes' if finding.present else 'no':<4} {finding.name:<{width}}  {finding.found}")
        if finding.mend:
            print(f"{'':<{width + 7}}→ {finding.mend}")
    return DONE
