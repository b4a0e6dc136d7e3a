"""What a run's folder keeps of its evaluations, and which checkpoints are due for one."""

import json
import re

_NAMES = {"map": "mAP", "miou": "mIoU"}
# What marks the best checkpoint, the weightiest last.
_MARKS = ("top1", "mIoU", "mAP")


def summary_line(step, scores, records_name):
    """A checkpoint's line of `1evaluations.txt`: thousands of steps, mAP, mIoU, records.

    A classifier's has top-1 and top-5 in the places of mAP and mIoU.
    """
    names = {"top1": "top-1", "top5": "top-5"} if "top1" in scores else _NAMES
    columns = [f"{step / 1000:.10g}"]
    for key, name in names.items():
        value = scores.get(key)
        columns.append(f"no {name}" if value is None else f"{100 * value:.2f}% {name}")
    return "\t".join([*columns, records_name])


def append_line(path, line):
    """Append to a file of lines, below what a program that was killed left of one."""
    text = path.read_text() if path.is_file() else ""
    cut_off = text and not text.endswith("\n")
    with path.open("a") as file:
        file.write("\n" * bool(cut_off) + line + "\n")


def evaluated_steps(path, records_name):
    """Steps that the file of summary lines has for `records_name`; none if there is no file.

    Raises:
      ValueError: a line for `records_name` does not begin with a number; names file and line.
    """
    if not path.is_file():
        return set()
    found = set()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        thousands, *rest = line.split("\t")
        if rest and rest[-1] == records_name:
            try:
                found.add(round(float(thousands) * 1000))
            except (ValueError, OverflowError):
                raise ValueError(
                    f"{path}, line {number}: expected thousands of steps, not {thousands!r}"
                ) from None
    return found


def results_path(run_dir, records_name, step):
    """Where the detections of a checkpoint on a set of records go, for COCO's server."""
    return run_dir / f"results-{records_name}-{step}.json"


def written_steps(run_dir, records_name):
    """Steps whose file of results is in the run's folder."""
    name = re.compile(rf"results-{re.escape(records_name)}-(\d+)\.json")
    matches = (name.fullmatch(path.name) for path in run_dir.glob("results-*.json"))
    return {int(match.group(1)) for match in matches if match}


def write_results(path, results):
    """Write COCO's list of results, one detection a line, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        file.write("[")
        for n, result in enumerate(results):
            file.write((",\n" if n else "\n") + json.dumps(result))
        file.write("\n]\n")
    partial.replace(path)


def better_mark(path, step, scores):
    """The content for the file that marks the best checkpoint; None if what it has is better.

    The score is mAP, or mIoU where there is none, or top1 where there is neither; a mAP replaces
    an mIoU, and either a top1. Of equal scores the one that was there stays.

    Raises:
      ValueError: the file there is no such mark; names it.
    """
    found = [by for by in _MARKS if scores.get(by.lower()) is not None]
    if not found:
        return None
    by, score = found[-1], scores[found[-1].lower()]
    if path.is_file():
        try:
            old = json.loads(path.read_text())
            older = (_MARKS.index(old["by"]), float(old["score"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} does not mark a checkpoint ({error!r}): remove it, and the next "
                "evaluation writes it again"
            ) from None
        if older >= (_MARKS.index(by), score):
            return None
    return {"step": step, "by": by, "score": score}


def choose_steps(steps, evaluated, min_step, distance):
    """Checkpoints for a batch evaluation, ascending.

    From `min_step` on, the newest always, and backwards from it those at least `distance`
    steps away from every one taken or in `evaluated`; those in `evaluated` are left out.
    """
    candidates = sorted((s for s in steps if s >= min_step), reverse=True)
    taken, chosen = set(evaluated), []
    for place, step in enumerate(candidates):
        apart = all(abs(step - other) >= distance for other in taken)
        if step not in evaluated and (place == 0 or apart):
            taken.add(step)
            chosen.append(step)
    return chosen[::-1]


def next_step(steps, evaluated, min_step, distance, complete):
    """The checkpoint to evaluate next while training goes on; None if none is due.

    The earliest from `min_step` on that is at least `distance` steps away from every one in
    `evaluated`. When `steps` is `complete`, no more to come, its last one too, however near.
    """
    candidates = sorted(s for s in steps if s >= min_step and s not in evaluated)
    for step in candidates:
        last = complete and step == max(steps)
        if last or all(abs(step - other) >= distance for other in evaluated):
            return step
    return None
