"""To be written."""

from underhood.diagnosis import Finding
from underhood.diagnosis.case import Case

SUSPICION = "imbalance"
SECONDS, AFTER = 0.0, ()


def examine(case: Case) -> Finding | None:
    """To be written."""
    return None
