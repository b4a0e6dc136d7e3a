"""Writes a set of records over several processes so that a stopped run costs nothing.

Shards are finished in the hidden folder `.<name>.partial`, each with a report beside it; only
when all are complete do they move to the folder of the records, followed by the JSON that
makes the set exist. A run that was stopped goes on from the reports.
"""

import contextlib
import functools
import glob
import hashlib
import itertools
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import tensorflow as tf

from blitznet import keys
from datasets import records
from datasets.info import BadExample, DatasetInfo
from datasets.workers import run_in_pool

PICTURES_PER_SHARD = 500
_SHOWN = 20
# What a set's JSON counts, by the numbers of one example.
_COUNTS = {
    "images": lambda example: 1,
    "images_with_masks": lambda example: bool(example[keys.ENCODED_MASK]),
    "difficult_objects": lambda example: np.sum(example[keys.DIFFICULT]),
    "crowd_objects": lambda example: np.sum(example[keys.IS_CROWD]),
    "boxes_of_no_area": lambda example: example.get(keys.EMPTY_BOXES, 0),
}


class BadExamples(ValueError):
    """Pictures that stop an encoding: `examples`, a list of BadExample, are all of the set."""

    def __init__(self, examples):
        self.examples = list(examples)
        advice = "mend them, or leave them out by --skip_bad"
        super().__init__(f"{describe_bad(self.examples)}\n{advice}")


def describe_bad(examples):
    """Text for people: how many BadExample there are, and the first of them with reasons."""
    count = "1 bad example" if len(examples) == 1 else f"{len(examples)} bad examples"
    lines = [f"{count}:", *(f"  {example}" for example in examples[:_SHOWN])]
    if len(examples) > _SHOWN:
        lines.append(f"  and {len(examples) - _SHOWN} more")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Shard:
    """Work on one shard: `path` is where it is finished, in the folder of partial work.

    `annotations` has an entry for each name, or is None: what `read` takes beside the name.
    """

    path: Path
    names: tuple
    annotations: tuple
    info: DatasetInfo
    source: str
    read: Callable
    skip_bad: bool

    @property
    def report_path(self):
        return self.path.with_suffix(".json")

    def examples(self):
        """Calls that read the pictures, one each."""
        columns = [self.names] if self.annotations is None else [self.names, self.annotations]
        return [functools.partial(self.read, *picture) for picture in zip(*columns)]


def write_records(
    folder,
    record_set,
    info,
    names,
    read,
    *,
    source,
    annotations=None,
    has_boxes=True,
    shards=None,
    workers=1,
    skip_bad=False,
    overwrite=False,
    progress=lambda done: None,
):
    """Write the pictures `names` of `record_set` to `folder`; True if anything was written.

    Args: `info` the DatasetInfo; `read` a picklable callable, name -> example or BadExample;
    `source` says where it finds the pictures and masks: absolute folders;
    `annotations` a dict name -> what `read` takes as its second argument (a worker is handed
    those of its own shards alone), None for a `read` of the name; `has_boxes` whether the objects
    of the pictures are known;
    `shards` their number (None: one per 500 pictures), filled in the order of `names`;
    `workers` processes (1: this one); `skip_bad` leaves bad examples out and lists them in the
    JSON; `overwrite` starts from nothing and replaces the set once the other is complete;
    `progress` is called with the number of pictures done so far.

    A complete set is left as it is. Raises FileExistsError if that one is of another list,
    source or classes, BadExamples (after checking the whole set) without `skip_bad` or when it
    would leave no picture, ValueError for more shards than pictures.
    """
    folder = Path(folder)
    if not overwrite and _is_complete(folder, record_set, info, names, source):
        return False
    count = shards or math.ceil(len(names) / PICTURES_PER_SHARD)
    if count > len(names):
        raise ValueError(f"{count} shards for {len(names)} pictures: at most one each")

    staging = folder / f".{record_set.name}.partial"
    if overwrite and staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    plan = []
    for i in range(count):
        path = staging / f"{record_set.name}-{i:05d}-of-{count:05d}.tfrecord"
        part = tuple(names[len(names) * i // count : len(names) * (i + 1) // count])
        known = None if annotations is None else tuple(annotations[name] for name in part)
        plan.append(_Shard(path, part, known, info, source, read, skip_bad))

    try:
        reports = _write_shards(plan, folder, workers, progress)
        skipped = [BadExample(**entry) for report in reports for entry in report["skipped"]]
        if skipped and (not skip_bad or len(skipped) == len(names)):
            raise BadExamples(skipped)
    finally:
        with contextlib.suppress(OSError):  # it stays as long as it holds a finished shard
            staging.rmdir()
    summary = _summary(record_set, info, _identity(info, names, source), plan, reports)
    _publish(folder, staging, plan, {**summary, "has_boxes": has_boxes})
    return True


def _identity(info, names, source):
    """What tells a set of records from others of its name."""
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return {"classes": list(info.class_names), "source": source, "names_sha256": digest}


def _is_complete(folder, record_set, info, names, source):
    if not records.has_records(folder, record_set):
        return False
    try:
        records.open_records(folder, record_set)
    except FileNotFoundError:  # a shard was lost
        return False
    path = records.json_path(folder, record_set)
    present = json.loads(path.read_text(encoding="utf-8"))
    wanted = _identity(info, names, source)
    different = [field for field in wanted if present.get(field) != wanted[field]]
    if different:
        lines = [f"  {name}: {present.get(name)}, not {wanted[name]}" for name in different]
        raise FileExistsError(
            f"{path} describes another set than the one asked for:\n"
            + "\n".join(lines)
            + "\ngive --overwrite to replace it"
        )
    return True


def _write_shards(plan, folder, workers, progress):
    """Reports of all shards, in order; those that an earlier run finished are not done again."""
    reports = {shard.path: _finished_report(shard, folder) for shard in plan}
    missing = [shard for shard in plan if reports[shard.path] is None]
    already = sum(len(shard.names) for shard in plan) - sum(len(s.names) for s in missing)
    progress(already)
    workers = min(workers, len(missing))
    write = run_in_pool if workers > 1 else _write_here
    written = write(_write_shard, missing, workers, lambda done: progress(already + done))
    reports.update(zip((shard.path for shard in missing), written))
    return list(reports.values())


def _finished_report(shard, folder):
    """The report of a shard that need not be written again, or None."""
    if not shard.report_path.is_file():
        return None
    report = json.loads(shard.report_path.read_text(encoding="utf-8"))
    # A shard that has moved to the folder was interrupted between that and the JSON.
    there = shard.path.is_file() or (folder / shard.path.name).is_file()
    wanted = {
        "names": list(shard.names),
        "classes": list(shard.info.class_names),
        "source": shard.source,
    }
    same = all(report.get(field) == value for field, value in wanted.items())
    same = same and _COUNTS.keys() <= report.keys()
    # What was left out may have been mended since.
    return report if there and same and not report["skipped"] else None


def _write_here(write, plan, _, progress):
    done = itertools.count(1)
    return [write(shard, lambda: progress(next(done))) for shard in plan]


def _write_shard(shard, tick):
    """Read every picture of a shard; write it with its report unless something is bad.

    With `skip_bad` it is written without what is bad. Answers the report: names, classes,
    source, counts, and what was left out. Raises OSError when the disk refuses.
    """
    temporary = shard.path.with_suffix(f".{os.getpid()}.tmp")
    objects = np.zeros(len(shard.info.class_names) + 1, np.int64)
    counts = dict.fromkeys(_COUNTS, 0)
    skipped = []
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for read in shard.examples():
                try:
                    example = read()
                except BadExample as error:
                    skipped.append({"file": error.file, "reason": error.reason})
                else:
                    writer.write(records.serialize(example, shard.info.class_names))
                    objects += np.bincount(_counted(example), minlength=len(objects))
                    for name, count in _COUNTS.items():
                        counts[name] += int(count(example))
                tick()
        report = {
            "names": shard.names,
            "classes": shard.info.class_names,
            "source": shard.source,
            "objects": objects[1:].tolist(),
            **counts,
            "skipped": skipped,
        }
        if shard.skip_bad or not skipped:
            os.replace(temporary, shard.path)
            _write_json(shard.report_path, report)
        return report
    except tf.errors.OpError as error:  # how the writer says that the disk is full
        raise OSError(f"cannot write {temporary}: {error.message}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _counted(example):
    """Classes 1..C of what is counted: the objects, or the picture if it has a class itself."""
    class_label = example.get(keys.CLASS_LABEL, -1)
    return example[keys.LABELS] if class_label < 0 else np.array([class_label + 1])


def _summary(record_set, info, identity, plan, reports):
    """Content of the set's JSON: the same for the same pictures, whenever it is written."""
    objects = np.sum([report["objects"] for report in reports], axis=0).tolist()
    of_pictures = {"has_class_labels": True} if info.of_pictures else {}
    return {
        "name": record_set.name,
        "command": record_set.command,
        "split": record_set.split,
        "image_list": record_set.image_list,
        "ap_rule": record_set.ap_rule,
        **identity,
        "category_ids": info.category_ids,
        "ignore_label": info.ignore_label,
        "objects": dict(zip(info.class_names, objects)),
        **{name: sum(report[name] for report in reports) for name in _COUNTS},
        "skipped": [entry for report in reports for entry in report["skipped"]],
        "shards": [shard.path.name for shard in plan],
        **of_pictures,
    }


def _publish(folder, staging, plan, summary):
    """Put the finished shards in the place of what the set was before."""
    target = folder / f"{summary['name']}.json"
    # Without JSON the set does not exist while old and fresh shards are side by side.
    target.unlink(missing_ok=True)
    for shard in plan:
        if shard.path.is_file():
            os.replace(shard.path, folder / shard.path.name)
    _write_json(target, summary)
    for old in folder.glob(f"{glob.escape(summary['name'])}-?????-of-?????.tfrecord"):
        if old.name not in summary["shards"]:
            old.unlink()
    shutil.rmtree(staging)


def _write_json(path, content):
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
