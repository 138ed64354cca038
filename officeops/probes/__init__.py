"""What is asked of a running application, and what the answers mean."""

from officeops.probes.reading import Probe, Reading
from officeops.probes.rules import Judged, Rule, judge

__all__ = ["Judged", "Probe", "Reading", "Rule", "judge"]
