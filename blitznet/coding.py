"""Matching of prior boxes with ground truth, and what the network's numbers mean."""

import tensorflow as tf

from blitznet import choices
from blitznet.boxes import iou_of_sides, yxyx_to_xywh


class PriorCoder:
    """Encodes ground truth as what the network should predict, and decodes predictions.

    One object owns the prior boxes, the matching threshold and the variances, so that both
    directions use the same (SSD, arXiv 1512.02325, section 2.2; spec section 8).

    Attributes:
      priors: float32 `[P, 4]`, `x, y, w, h`, normalised.
      class_loss: the loss that the class logits are trained with, which says how they are read:
        "softmax" over all classes, or "focal", a sigmoid for each class but the background;
        ValueError for any other.
    """

    def __init__(
        self, priors, iou_threshold=0.5, variances=(0.1, 0.1, 0.2, 0.2), class_loss="softmax"
    ):
        choices.check("class_loss", class_loss, choices.CLASS_LOSSES)
        self.priors = tf.constant(priors, tf.float32)
        self._prior_sides = tf.unstack(self.priors, axis=1)
        self.class_loss = class_loss
        self._iou_threshold = iou_threshold
        self._variances = tf.constant(variances, tf.float32)

    def encode(self, boxes, labels):
        """Targets of one picture.

        Args:
          boxes: float32 `[N, 4]` `yxyx`, normalised, of positive area; N may be 0.
          labels: int32 `[N]`, 1..C-1.

        Returns:
          `(prior_labels [P] int32, prior_offsets [P, 4] float32)`: label 0 and offset 0 where
          no box is matched.
        """
        boxes = yxyx_to_xywh(boxes)
        matched = self._match(boxes)
        # Few prior boxes are positive: the others cost nothing and cannot become NaN.
        positive = tf.where(matched >= 0)
        index = tf.gather_nd(matched, positive)
        offsets = self._offsets(tf.gather(boxes, index), tf.gather_nd(self.priors, positive))
        number = self.priors.shape[0]
        return (
            tf.scatter_nd(positive, tf.gather(labels, index), [number]),
            tf.scatter_nd(positive, offsets, [number, 4]),
        )

    def decode(self, location):
        """Boxes `[..., P, 4]` `yxyx` for offsets `[..., P, 4]` (cx, cy, w, h).

        As in the original, the top-left corner is clipped below at 0, the size counts from
        there, and the other corner is clipped above at 1. So a box that lies wholly beyond the
        right or lower edge comes out with its first corner above 1.
        """
        corner, wh = self._corner_and_size(location)
        corner = tf.maximum(corner, 0.0)
        far = tf.minimum(corner + wh, 1.0)
        return tf.concat([corner[..., ::-1], far[..., ::-1]], axis=-1)

    def decode_unclipped(self, location):
        """As `decode`, but boxes may reach beyond the picture: losses need the slope there."""
        corner, wh = self._corner_and_size(location)
        return tf.concat([corner[..., ::-1], (corner + wh)[..., ::-1]], axis=-1)

    def class_scores(self, confidence):
        """Scores `[..., P, C-1]` in [0, 1] of the classes 1..C-1 for logits `[..., P, C]`."""
        if self.class_loss == "focal":
            return tf.sigmoid(confidence[..., 1:])
        return tf.nn.softmax(confidence)[..., 1:]

    def best_class(self, confidence):
        """The likeliest class `[..., P]` int32 for logits `[..., P, C]`, 0 for the background.

        Under focal loss that is the background where no class has a score above 1/2.
        """
        if self.class_loss == "focal":
            # A logit of 0 is a score of 1/2.
            background = tf.zeros_like(confidence[..., :1])
            confidence = tf.concat([background, confidence[..., 1:]], axis=-1)
        return tf.argmax(confidence, axis=-1, output_type=tf.int32)

    def _corner_and_size(self, location):
        """Top-left corners and sizes `[..., P, 2]` (x, y), unclipped, for offsets."""
        centre, size = self._centre_and_size(self.priors)
        location *= self._variances
        wh = tf.exp(location[..., 2:]) * size
        return location[..., :2] * size + centre - wh / 2, wh

    def _match(self, boxes):
        """Index of the `xywh` box of each prior `[P]` int32, -1 for none.

        Box by box, so that memory does not grow with the number of boxes.
        """
        number, shape = tf.shape(boxes)[0], self.priors.shape[:1]

        def add(index, highest, best, claims):
            iou = iou_of_sides(tf.unstack(boxes[index]), self._prior_sides)
            # Not >=: of boxes that overlap a prior alike, the first one has it.
            best = tf.where(iou > highest, index, best)
            claims = claims.write(index, tf.argmax(iou, output_type=tf.int32))
            return index + 1, tf.maximum(iou, highest), best, claims

        none = tf.fill(shape, -1)
        claims = tf.TensorArray(tf.int32, number, element_shape=[])
        start = 0, tf.zeros(shape), none, claims
        _, highest, best, claims = tf.while_loop(
            lambda index, *_: index < number, add, start, parallel_iterations=1
        )
        matched = tf.where(highest >= self._iou_threshold, best, none)
        claimant = tf.math.unsorted_segment_min(tf.range(number), claims.stack(), shape[0])
        return tf.where(claimant < number, claimant, matched)

    def _offsets(self, boxes, priors):
        """Offsets `[N, 4]` from prior boxes to the boxes beside them, both `[N, 4]` `xywh`."""
        centre, size = self._centre_and_size(priors)
        box_centre, box_size = self._centre_and_size(boxes)
        shift = (box_centre - centre) / size
        return tf.concat([shift, tf.math.log(box_size / size)], axis=-1) / self._variances

    @staticmethod
    def _centre_and_size(xywh):
        return xywh[..., :2] + xywh[..., 2:] / 2, xywh[..., 2:]
