"""Pictures that an export is calibrated with, and scores of it on records."""

import itertools
from pathlib import Path

import numpy as np

from blitznet import keys

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def open_records(path, class_names):
    """RecordsInfo of the .json of a set of records, of the classes `class_names`.

    Raises FileNotFoundError without the file, ValueError for what is no such set, or has other
    classes.
    """
    from datasets import custom

    info = custom.open_one([path])
    if list(info.class_names) != list(class_names):
        raise ValueError(
            f"{path} has the classes {', '.join(info.class_names)}; the run has "
            f"{', '.join(class_names)}"
        )
    return info


def calibration_pictures(source, side, count, class_names):
    """Up to `count` pictures as `images` float32 `[1, side, side, 3]`, RGB in 0..255, a list.

    Args:
      source: the .json of a set of records, or a folder of pictures.
      class_names: of the run, which the records must have.

    Raises:
      FileNotFoundError: there is nothing, or no picture in it.
      ValueError: a file is no picture (names it), or records do not fit.
    """
    if Path(source).is_dir():
        return list(_from_folder(Path(source), side, count))
    from datasets.pipeline import evaluation_dataset

    batches = evaluation_dataset([open_records(source, class_names)], side, 1)
    return [batch[keys.IMAGE].numpy() * 255 for batch in batches.take(count)]


def _from_folder(folder, side, count):
    import tensorflow as tf

    from blitznet.export.saved_model import decode
    from blitznet.imaging import legacy_resize

    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no picture in {folder}: expected {', '.join(_SUFFIXES)}")
    for path in itertools.islice(files, count):
        try:
            picture = decode(tf.constant(path.read_bytes()))
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"{path} is no picture: {error.message}") from None
        yield legacy_resize(picture[None], (side, side)).numpy()


def scores(info, side, answer, detect, segment):
    """`evaluation.Evaluation.scores` of what `answer` finds in the pictures of records.

    Class maps, which an export gives at `side` x `side`, are compared at the pictures' own size.

    Args:
      info: `RecordsInfo`.
      side: of the network's input, in pixels; None for the pictures' own sizes.
      answer: from an encoded picture (bytes) and `images` float32 `[1, side, side, 3]`, RGB in
        0..255, to the answer of an export.
      detect, segment: the network's tasks.
    """
    from blitznet.evaluation import Evaluation
    from blitznet.progress import progress_bar
    from datasets.pipeline import evaluation_dataset

    rule = info.ap_rule if detect and info.has_boxes else None
    segment = segment and bool(info.images_with_masks)
    meter = Evaluation(info.class_names, rule, 0.5, segment, info.ignore_label, info.category_ids)
    bar = progress_bar(info.images, "images")
    for done, batch in enumerate(evaluation_dataset([info], side, 1), start=1):
        example = {name: value[0].numpy() for name, value in batch.items()}
        images = example.pop(keys.IMAGE)[None] * 255
        found = answer(example[keys.ENCODED_IMAGE], images)
        meter.add(example, _prediction(found, example))
        bar.update(done)
    bar.finish()
    return meter.scores()


def _prediction(answer, example):
    """What `Evaluation.add` takes, of an export's answer for one picture."""
    from blitznet.postprocess.tiles import answered_class_map

    prediction = {}
    if keys.NUM_DETECTIONS in answer:
        count = answer[keys.NUM_DETECTIONS][0]
        for name in (keys.DETECTION_BOXES, keys.DETECTION_SCORES, keys.DETECTION_CLASSES):
            prediction[name] = answer[name][0, :count]
    if keys.SEMANTIC_CLASSES in answer:
        size = int(example[keys.HEIGHT]), int(example[keys.WIDTH])
        row = {name: value[0] for name, value in answer.items()}
        prediction[keys.SEMANTIC_CLASSES] = answered_class_map(row, *size)
    return prediction


def loss_rows(before, after):
    """Rows `(score, before, after, after - before)` of the mean scores of two evaluations."""
    names = [name for name in ("map", "miou") if before.get(name) is not None]
    return [(name, before[name], after[name], after[name] - before[name]) for name in names]


def as_bytes(encoded):
    """`image_bytes` `[1]` of one encoded picture."""
    return np.array([encoded], object)
