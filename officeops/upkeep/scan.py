"""Known vulnerabilities of what was built, by Trivy where it is on PATH. https://trivy.dev/latest/docs/"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from officeops.errors import OfficeOpsError
from officeops.process import Command, run

_SCAN_S = 1200.0


def available() -> bool:
    """Whether there is a scanner."""
    return shutil.which("trivy") is not None


def scan(artifact: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """artifact: as `Stack.artifact` says. Counts by severity, by what was scanned. Raises OfficeOpsError when Trivy fails."""
    return {name: counted(_trivy(what)) for name, what in artifact.items()}


def counted(report: str) -> dict[str, int]:
    """Vulnerabilities by severity in Trivy's JSON. Raises OfficeOpsError when it is none."""
    try:
        results = json.loads(report).get("Results") or []
    except (ValueError, AttributeError) as error:
        raise OfficeOpsError(f"Trivy did not print its report: {error}.") from error
    return dict(Counter(str(one.get("Severity", "UNKNOWN")) for result in results for one in result.get("Vulnerabilities") or []))


def _trivy(what: str) -> str:
    kind = "fs" if Path(what).is_absolute() else "image"
    command = Command(("trivy", kind, "--quiet", "--scanners", "vuln", "--format", "json", what))
    return run(command, timeout=_SCAN_S).stdout.decode()
