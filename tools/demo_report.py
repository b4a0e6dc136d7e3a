"""What the demo tells at the end, and the rule by which it writes files."""

import sys
from collections import Counter
from pathlib import Path

from tabulate import tabulate


class Tally:
    """Counts what a `blitznet.predictor.Predictor` finds in pictures, or in frames."""

    def __init__(self, predictor, min_score, unit):
        """`unit`: what is counted, "pictures" or "frames"."""
        self._predictor, self._min_score, self._unit = predictor, min_score, unit
        self._total = 0
        self._detections, self._pictures, self._shares = Counter(), Counter(), Counter()
        self._surest = (0.0, None)

    def add(self, prediction):
        """Count a `Prediction`; answers it without the detections below the least score."""
        shown = prediction.at_least(self._min_score)
        self._total += 1
        self._detections.update(shown.names)
        self._pictures.update(set(shown.names))
        self._shares.update(shown.class_shares() or {})
        if prediction.names:
            self._surest = max(self._surest, (float(prediction.scores[0]), prediction.names[0]))
        return shown

    def classes(self):
        """Ids of the classes of which anything was found, boxes or pixels, ascending."""
        names = enumerate(self._predictor.class_names, start=1)
        return [c for c, name in names if self._detections[name] or self._shares[name]]

    def report(self):
        """Print how much was found of which class; warn, with advice, when nothing was."""
        rows = [self._row(self._predictor.class_names[c - 1]) for c in self.classes()]
        columns = [True, *[self._predictor.detects] * 2, self._predictor.segments]
        headers = ("class", "detections", f"in {self._unit}", "% of pixels")
        if rows:
            table = [_chosen(row, columns) for row in rows]
            print(tabulate(table, headers=_chosen(headers, columns), floatfmt=".1f"))
        print(self._summary())
        if self._predictor.detects and not self._detections:
            print(self._advice(), file=sys.stderr)

    def _row(self, name):
        share = 100 * self._shares[name] / max(1, self._total)
        return name, self._detections[name], self._pictures[name], share

    def _summary(self):
        pictures = f"{self._total} {self._unit if self._total != 1 else self._unit[:-1]}"
        if not self._predictor.detects:
            return f"{pictures}; this network does not detect objects"
        number = sum(self._detections.values())
        detections = f"{number} detection{'' if number == 1 else 's'}"
        return f"{detections} of a score of at least {self._min_score:g} in {pictures}"

    def _advice(self):
        score, name = self._surest
        text = "the network found nothing at any score"
        if name:
            # Rounded down, so that the flag as it is written shows it.
            lower = int(score * 100) / 100
            text = f"the surest is {name} at {score:.3f}, which --min_score {lower:g} shows"
        known = ", ".join(self._predictor.class_names)
        return f"warning: no detections; {text}. The classes that it knows: {known}"


def _chosen(cells, columns):
    return [cell for cell, chosen in zip(cells, columns) if chosen]


def check_outputs(inputs, outputs, overwrite):
    """Refuse to write over what is there.

    Args:
      inputs: paths that are read.
      outputs: paths that are to be written.
      overwrite: replace outputs of an earlier run; inputs are never replaced.

    Raises:
      FileExistsError: names the first file in the way, and what to do.
    """
    read = {Path(path).resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise FileExistsError(f"{path} is read from: take another folder as --output")
    present = [path for path in outputs if path.exists()]
    if present and not overwrite:
        more = f" (and {len(present) - 1} more)" if len(present) > 1 else ""
        raise FileExistsError(
            f"{present[0]} exists{more}: --overwrite replaces it, or take another --output"
        )


def write(path, content):
    """Write bytes to `path`, whole or not at all, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
