"""Training batches made by other processes: tf.data's service, of a dispatcher and workers."""

import socket

import tensorflow as tf

_SECONDS = 5


def through_service(dataset, address):
    """The dataset, made by the workers of a tf.data service.

    They divide the elements of its source among them, those of `pipeline.training_dataset` epoch
    by epoch. One worker gives what the dataset itself would. Of several, each makes whole batches
    of its own epochs, which come in any order; no picture comes twice in an epoch, but where the
    dataset begins in the middle of one, each worker's first epoch begins there.

    Args:
      dataset: tf.data that reads files by absolute paths, which are right on the workers too.
      address: of the dispatcher, `HOST:PORT`.

    Raises:
      ConnectionError: nobody listens there; says what to run.
    """
    check_reachable(address)
    service = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.DYNAMIC, f"grpc://{address}"
    )
    return dataset.apply(service).prefetch(2)


def check_reachable(address):
    """ConnectionError where nobody listens at `HOST:PORT`: TensorFlow would wait for ever."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"no tf.data service at {address} ({error}); start one there by\n"
            f"  python -m tools.data_service --port {port}"
        ) from None
