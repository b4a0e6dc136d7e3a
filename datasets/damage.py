"""Names the damaged files of a set of records, which TensorFlow's readers leave unsaid."""

import tensorflow as tf


def naming_damaged(batches, record_sets):
    """Generator of `batches`.

    Args:
      batches: tf.data of batches read from `record_sets`.
      record_sets: list of `records.RecordsInfo`.

    Raises:
      ValueError: a file is truncated or changed; names it.
    """
    try:
        yield from batches
    except tf.errors.DataLossError as error:
        files = [file for info in record_sets for file in info.files]
        damaged = [file for file in files if not _reads(file)]
        tools = sorted({info.command.split(" --")[0] for info in record_sets if info.command})
        raise ValueError(
            f"damaged records: {', '.join(damaged) or 'one of ' + ', '.join(files)}; write the set "
            f"again by {' or '.join(tools) or 'what wrote it'}, with --overwrite "
            f"({error.message.split('}} ')[-1]})"
        ) from None


def _reads(file):
    try:
        for _ in tf.data.TFRecordDataset(file):
            pass
    except tf.errors.DataLossError:
        return False
    return True
