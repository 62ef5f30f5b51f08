"""Can the class be predicted from what should not matter?"""

from underhood.analysis.shortcuts import find_shortcuts
from underhood.diagnosis import Finding, fine, found
from underhood.diagnosis.case import Case

SUSPICION = "the class can be predicted from what should not matter, such as brightness or the border"
SECONDS, AFTER = 3.0, ("labels",)


def examine(case: Case) -> Finding | None:
    """Predict the class from size, format, EXIF, brightness, border and corners alone, in cross-validation."""
    if case.parts is None:
        return None
    shortcuts = find_shortcuts(case.parts)
    if not shortcuts:
        return fine("no size, format, brightness, border or corner predicts the class far better than chance")
    worst = shortcuts[0]
    return found(
        f"{worst['sentence']}: balanced accuracy {worst['accuracy']:.0%} from {worst['cue']} alone, by chance "
        f"{worst['chance']:.0%}",
        f"underhood check {case.data()}; then images of all classes from the same source, or without this cue",
    )
