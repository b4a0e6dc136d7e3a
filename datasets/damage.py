"""Names the damaged files of a set of records, which TensorFlow's readers leave unsaid."""

import tensorflow as tf

from datasets import inspection
from datasets.info import BadExample


def naming_damaged(batches, record_sets):
    """Generator of `batches`.

    Args:
      batches: tf.data of batches read from `record_sets`.
      record_sets: list of `records.RecordsInfo`.

    Raises:
      ValueError: a file is truncated or changed, or a picture in it does not decode; names it.
    """
    try:
        yield from batches
    except tf.errors.DataLossError as error:
        files = [file for info in record_sets for file in info.files]
        damaged = [file for file in files if not _reads(file)]
        raise ValueError(
            f"damaged records: {', '.join(damaged) or 'one of ' + ', '.join(files)}; "
            f"{_remedy(record_sets)} ({error.message.split('}} ')[-1]})"
        ) from None
    except tf.errors.InvalidArgumentError:
        undecodable = next(filter(None, map(_undecodable, record_sets)), None)
        if undecodable is None:
            raise
        raise ValueError(f"damaged records: {undecodable}; {_remedy(record_sets)}") from None


def _remedy(record_sets):
    tools = sorted({info.command.split(" --")[0] for info in record_sets if info.command})
    return f"write the set again by {' or '.join(tools) or 'what wrote it'}, with --overwrite"


def _reads(file):
    try:
        for _ in tf.data.TFRecordDataset(file):
            pass
    except tf.errors.DataLossError:
        return False
    return True


def _undecodable(info):
    """BadExample of the first record that does not decode, None if all of them do."""
    for where, example in inspection.read_records(info):
        if isinstance(example, BadExample):
            return example
        try:
            inspection.decode(example, where)
        except BadExample as error:
            return error
    return None
