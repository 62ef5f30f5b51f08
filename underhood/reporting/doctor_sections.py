"""The section of the report on what the doctor said: from ``doctor.json``, which ``underhood doctor RUN`` writes."""

from pathlib import Path
from typing import Any

from underhood.core.errors import RunError
from underhood.runs import read_json

DOCTOR_FILE = "doctor.json"
KEYS = ("check", "verdict", "suspicion", "evidence", "fix")


def doctor_sections(folder: Path) -> dict[str, Any]:
    """The content of this section, for the template: ``doctor`` is None where the run was not examined.

    Raises RunError where the file is damaged.
    """
    if not (folder / DOCTOR_FILE).exists():
        return {"doctor": None}
    findings = read_json(folder, DOCTOR_FILE).get("findings")
    if not isinstance(findings, list) or not all(isinstance(one, dict) and one.keys() >= set(KEYS) for one in findings):
        raise RunError(f"{folder / DOCTOR_FILE} is damaged: remove it, and run underhood doctor {folder} again")
    rows = [{key: str(one[key]) for key in KEYS} for one in findings]
    serious = [one for one in rows if one["verdict"] != "fine"]
    return {"doctor": {"serious": serious, "fine": [one for one in rows if one["verdict"] == "fine"]}}
