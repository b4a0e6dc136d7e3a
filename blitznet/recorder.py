"""What a training leaves in its run's folder while it goes on, and how it is stopped."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from blitznet import checkpoints
from blitznet.distribution import Devices
from blitznet.engine import catch_signals
from blitznet.optim import Optimizer
from blitznet.summaries import NoSummaries, SummaryWriter

# Seconds that worker 0 may take for a checkpoint.
_PATIENCE = 600


@dataclass(frozen=True)
class Recorder:
    """Follows a training: progress line, summaries, checkpoints, signals.

    Attributes:
      run_dir: the run's folder.
      devices, model, optimizer, coder: what is trained; the coder is None without detection.
      predict: what `engine.make_predict` makes, on the first replica, for the summaries' pictures.
      class_names: of the objects.
      save_every, summary_every: steps from one checkpoint, and one summary of scalars, to the next.
    """

    run_dir: Path
    devices: Devices
    model: object
    optimizer: Optimizer
    coder: object
    predict: object
    class_names: tuple
    save_every: int
    summary_every: int

    def follow(self, reports, progress, start, stop):
        """Consume the reports of steps `start + 1` to `stop`, or up to a signal.

        Args:
          reports: of `engine.train`.
          progress: a `progress.TrainingProgress`.

        Returns:
          `(steps done, number of the signal that stopped training or None)`.
        """
        step, stopped_by = start, None
        writer = SummaryWriter(self.run_dir) if self.devices.chief else NoSummaries()
        with catch_signals(signal.SIGINT, signal.SIGTERM) as caught:
            for report in reports:
                step = report.step
                progress.show(report)
                if step % self.summary_every == 0:
                    writer.scalars(report, progress.speed)
                due = step % self.save_every == 0 or step == stop
                # Looked at once: a signal that comes later waits for the next step.
                stopping = self.devices.any_worker(bool(caught)) and step < stop
                if due or stopping:
                    chief = self.devices.chief
                    checkpoints.save(self.run_dir, step, self.model, self.optimizer, write=chief)
                if stopping or step == stop:
                    self._wait_for_checkpoint(step)
                if stopping:
                    # Of several workers perhaps another one was told to stop.
                    stopped_by = caught[0] if caught else signal.SIGTERM
                    break
                if due:
                    writer.pictures(report, self.predict, self.coder, self.class_names)
        progress.finish()
        return step, stopped_by

    def _wait_for_checkpoint(self, step):
        """Until the chief has written it: a scheduler may end all workers once one is gone.

        Through the file system that they share: a reduction would need the chief to stay until
        the last of the others has heard of it.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self.devices.chief and step not in checkpoints.steps(self.run_dir):
            if time.monotonic() > deadline:
                raise OSError(f"worker 0 has not written step {step} in {_PATIENCE} s")
            time.sleep(0.1)
