"""Training and prediction over several devices and machines, through `tf.distribute`.

A *replica* is one device's copy of the network, a *worker* a process with one or more of them.
Within a train step every replica holds a share of the batch: what normalises a loss is summed over
all of them (`sum_over_replicas`), so that the losses and gradients of the replicas add up to those
of the whole batch on one device.
"""

import functools
import json
import os
from dataclasses import dataclass

import tensorflow as tf

from blitznet import choices


def sum_over_replicas(values):
    """Tensors, in any nesting, summed over all replicas; unchanged outside of replicas."""
    context = _replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values) if context else values


def share_of_replica(value):
    """What each replica adds, so that the sum over all of them is `value`."""
    context = _replica_context()
    return value / context.num_replicas_in_sync if context else value


def sum_of_largest(values, count, fixed_shapes=False):
    """The sum of those of this replica's `values` `[N]` among the `count` largest of all replicas.

    Every replica has N of them. Only its own `count` largest travel. `count` is at least 1.
    `fixed_shapes`: whether no shape may depend on `count`, which takes longer; not for replicas.
    """
    context = _replica_context()
    if fixed_shapes:
        ranked = tf.math.top_k(values, tf.size(values)).values
        return tf.reduce_sum(tf.where(tf.range(tf.size(values)) < count, ranked, 0.0))
    if not context:
        return tf.reduce_sum(tf.math.top_k(values, count, sorted=False).values)
    mine = tf.math.top_k(values, tf.minimum(count, tf.size(values)), sorted=False).values
    everyones = context.all_gather(tf.stop_gradient(mine), axis=0)
    chosen = tf.math.top_k(everyones, count, sorted=False).indices
    place = chosen - context.replica_id_in_sync_group * tf.size(mine)
    inside = (place >= 0) & (place < tf.size(mine))
    return tf.reduce_sum(tf.gather(mine, tf.boolean_mask(place, inside)))


def _replica_context():
    """The replica that is being computed, None where there is but one or none is."""
    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None


def local_parts(batch):
    """The parts of a batch that this worker's replicas hold, in order: dicts of plain tensors.

    Pictures of their own sizes are padded to one size in each part alone.
    """
    return [dict(zip(batch, part)) for part in zip(*map(_local, batch.values()))]


def local_batch(batch):
    """All of `local_parts` as one, where they are of one size: dict of plain tensors."""
    return {name: tf.concat(_local(value), axis=0) for name, value in batch.items()}


def _local(value):
    """The values of this worker's replicas."""
    return value.values if isinstance(value, tf.distribute.DistributedValues) else (value,)


@dataclass(frozen=True)
class Devices:
    """The devices of a run, under a `tf.distribute.Strategy`.

    Attributes:
      strategy: TensorFlow's default one for a single device.
      worker, workers: the number of this process, from 0, and how many there are.
    """

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1

    @property
    def replicas(self):
        """How many there are, on all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def chief(self):
        """Whether this worker writes checkpoints and summaries."""
        return self.worker == 0

    def scope(self):
        """Context in which the model and the optimizer are made: every replica gets a copy."""
        return self.strategy.scope()

    def on_replicas(self, function, *arguments):
        """What `function` answers on the first replica here; all replicas run it.

        Arguments that are `tf.distribute.DistributedValues` give each its own.
        """
        answer = _run(self.strategy, function, arguments)
        return tf.nest.map_structure(lambda value: _local(value)[0], answer)

    def compiled(self, function):
        """`on_replicas` of `function`, as a graph.

        What it reduces must come from its own operations: in a graph, arguments have no device.
        """
        return tf.function(functools.partial(self.on_replicas, function))

    def batches(self, make_dataset):
        """The batches of an endless input, divided over all replicas.

        `make_dataset(replicas, worker, workers)` answers the tf.data of one worker: for each
        batch the parts of its replicas, one after the other.
        """

        def of_worker(context):
            dataset = make_dataset(self.replicas, self.worker, self.workers)
            # Where the end is unknown, workers ask each other before every step.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return dataset.apply(endless)

        return self.strategy.distribute_datasets_from_function(of_worker)

    def over_batch(self, predict):
        """`predict`, a function of images `[B, S, S, 3]`, with the batch divided over replicas.

        Its answer is a dict of tensors `[B, ...]`, as that of `engine.make_predict`. One worker
        only.
        """
        if self.replicas == 1:
            return predict
        strategy = self.strategy
        run = tf.function(lambda parts: _run(strategy, predict, (parts,)))

        def predict_parts(images):
            count = len(images)
            share = -(-count // self.replicas)
            # The last batch may be smaller: the first pictures fill it up.
            rows = [i % count for i in range(share * self.replicas)]
            parts = tf.split(tf.gather(images, rows), self.replicas)
            values = strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group]
            )
            return {name: value[:count] for name, value in local_batch(run(values)).items()}

        return predict_parts

    def any_worker(self, flag):
        """Whether `flag` is set on any worker; all of them must ask, and get the same answer."""
        if self.workers == 1:
            return flag
        return bool(self._sum(tf.constant(int(flag))) > 0)

    @functools.cached_property
    def _sum(self):
        return self.compiled(lambda value: sum_over_replicas(tf.identity(value)))

    def check_agreement(self, what, number):
        """ValueError unless `number` is the same on all workers, who all call this.

        `what` names it.
        """
        if self.workers == 1:
            return
        gather = self.compiled(_gather_over_replicas)
        numbers = gather(tf.constant([number], tf.int64)).numpy()
        if len(set(numbers)) > 1:
            raise ValueError(
                f"the workers' {what} differ: {', '.join(map(str, numbers))}; all of them need the "
                "same flags and the same --archive, on a file system that they share"
            )

    def __str__(self):
        workers = f" on {self.workers} workers, of which this is {self.worker}"
        number = f"{self.replicas} replica{'s' * (self.replicas > 1)}"
        return f"{number}{workers if self.workers > 1 else ''}"


def _run(strategy, function, arguments):
    # Given a tf.function itself, `strategy.run` would call it with the parts of all replicas.
    return strategy.run(lambda *parts: function(*parts), args=arguments)


def _gather_over_replicas(value):
    return tf.distribute.get_replica_context().all_gather(tf.identity(value), axis=0)


def start(name):
    """The `Devices` of a strategy; to be called before TensorFlow has run anything.

    Args:
      name: one of `choices.STRATEGIES`. "mirrored" takes all GPUs of this machine, without any
        all (logical) CPU devices; "multi_worker" waits until all workers of `TF_CONFIG` are there.

    Raises:
      ValueError: `TF_CONFIG` does not describe workers; says what it should.
    """
    choices.check("strategy", name, choices.STRATEGIES)
    if name == "mirrored":
        return Devices(_mirrored())
    if name == "multi_worker":
        worker, workers = read_tf_config(os.environ.get("TF_CONFIG", ""))
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return Devices(tf.distribute.TPUStrategy(resolver))
    return Devices(tf.distribute.get_strategy())


@functools.cache
def _mirrored():
    # A second one in a process would number its collectives as the first one does.
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(names)


def read_tf_config(text):
    """`(number of this worker, how many there are)` that the value of `TF_CONFIG` says.

    Raises:
      ValueError: it does not describe workers; shows one that does.
    """
    try:
        description = json.loads(text)
        workers = description["cluster"]["worker"]
        kind, index = description["task"]["type"], int(description["task"]["index"])
        if list(description["cluster"]) == ["worker"] and kind == "worker":
            if 0 <= index < len(workers):
                return index, len(workers)
            raise ValueError(f"index {index} of {len(workers)} workers")
        raise ValueError("only tasks called worker take part")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--strategy multi_worker reads its workers from the environment variable TF_CONFIG, "
            f"which is {text!r} ({error!r}); the second of two machines: "
            '\'{"cluster": {"worker": ["one:12345", "two:12345"]}, '
            '"task": {"type": "worker", "index": 1}}\'; see docs/scaling.md'
        ) from None
