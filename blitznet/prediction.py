"""What a network found in one picture."""

from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from blitznet import visualize


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network found in one picture.

    Attributes:
      boxes: float32 `[K, 4]`, ymin, xmin, ymax, xmax in 0..1, by descending score; K is 0 for
        a network that does not detect.
      scores: float32 `[K]`.
      classes: int32 `[K]` in 1..C-1.
      names: the K names of these classes.
      class_map: uint8 `[H, W]` of class ids, 0 the background, at the picture's own size; None
        for a network that does not segment.
      height, width: of the picture, in pixels.
      class_names: names of the classes 1..C-1 that the network knows.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple
    class_map: Optional[np.ndarray]
    height: int
    width: int
    class_names: tuple

    def at_least(self, score):
        """The same without the detections of a lower score."""
        kept = self.scores >= score
        return replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            classes=self.classes[kept],
            names=tuple(name for name, keep in zip(self.names, kept) if keep),
        )

    def class_shares(self):
        """`{name: share of the picture's pixels}` of the classes that the map shows.

        The background is among them; the largest comes first. None without a class map.
        """
        if self.class_map is None:
            return None
        names = ("background", *self.class_names)
        counts = np.bincount(self.class_map.ravel(), minlength=len(names))
        order = np.argsort(-counts, kind="stable")
        return {names[c]: round(float(counts[c] / counts.sum()), 6) for c in order if counts[c]}

    def to_dict(self):
        """What `json.dump` takes.

        `height`, `width`; `detections`, each with `name`, `class`, `score`, `box` (ymin, xmin,
        ymax, xmax in 0..1) and `pixels` (xmin, ymin, xmax, ymax of its edges); `class_shares`.
        """
        rows = zip(self.names, self.classes, self.scores, self.boxes)
        return {
            "height": self.height,
            "width": self.width,
            "detections": [
                {
                    "name": name,
                    "class": int(class_id),
                    "score": round(float(score), 6),
                    "box": [round(float(edge), 6) for edge in box],
                    "pixels": self._pixels(box),
                }
                for name, class_id, score, box in rows
            ],
            "class_shares": self.class_shares(),
        }

    def draw(self, image, min_score=visualize.LEAST_SCORE, opacity=0.5):
        """The picture, uint8 RGB `[H, W, 3]`, under translucent classes and labelled boxes.

        A class of pixels that no box names is named on its largest region.

        Args:
          image: the picture itself; `Predictor.stream` gives it beside the prediction.
          min_score: detections of a lower score are left out.
          opacity: of the class colours, 0 to 1.

        Raises:
          ValueError: a picture of another size or kind.
        """
        shown = self.at_least(min_score)
        return visualize.draw(
            image,
            self.class_map,
            shown.boxes,
            shown.classes,
            shown.scores,
            self.class_names,
            opacity,
        )

    def _pixels(self, box):
        ymin, xmin, ymax, xmax = (float(edge) for edge in box)
        edges = xmin * self.width, ymin * self.height, xmax * self.width, ymax * self.height
        return [round(edge, 2) for edge in edges]
