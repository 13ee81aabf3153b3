"""What a data set turned out to be: clips per class and part, what was made, warnings, what was skipped."""

from .features import Features
from .folders import PARTS, SILENCE, UNKNOWN

_SHOWN = 10


def survey(features: Features) -> dict:
    """For JSON: ``clips`` (class → part → number), ``made`` and ``bundled`` of them, ``warnings``, all ``skipped``."""
    parts = {part: features.counts(part) for part in PARTS}
    return {"clips": {label: {part: parts[part][label] for part in PARTS} for label in features.labels},
            "made": features.made, "bundled": features.bundled, "warnings": list(features.warnings),
            "skipped": [list(item) for item in features.skipped]}


def survey_lines(features: Features) -> list[str]:
    """The same as lines of text; of the skipped clips the first ten."""
    found = survey(features)
    lines = ["clips to train/validate/test: " + ", ".join(
        f"{label} {'/'.join(str(n) for n in of.values())}" for label, of in found["clips"].items())]
    sources = {UNKNOWN: "of words backwards and spliced", SILENCE: "of quiet frames and noise"}
    made = [f"{label} {'/'.join(str(parts.get(part, 0)) for part in PARTS)} {sources[label]}"
            for label, parts in found["made"].items()]
    if features.bundled:
        made.append(f"{features.bundled} bundled clips of other words train {UNKNOWN}")
    if made:
        lines.append(f"made: {'; '.join(made)}")
    lines += [f"warning: {text}" for text in found["warnings"]]
    if features.skipped:
        lines.append(f"{len(features.skipped)} clips skipped:")
        lines += [f"  {path}: {reason}" for path, reason in features.skipped[:_SHOWN]]
    if len(features.skipped) > _SHOWN:
        lines.append(f"  and {len(features.skipped) - _SHOWN} more, all of them with --json")
    return lines
