"""VOC average precision against hand-computed fractions and a slow second implementation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.metrics import VocAP

NO_BOXES = np.zeros((0, 4))
A, B, FAR = [0, 0, 10, 10], [0, 20, 10, 30], [50, 50, 60, 60]


def _evaluate(rule, gt_boxes, detections, difficult=None, **settings_):
    """Result for one picture of class 1; detections are (box, score)."""
    metric = VocAP(["thing"], rule=rule, **settings_)
    metric.add(
        gt_boxes,
        np.ones(len(gt_boxes), int),
        difficult or [False] * len(gt_boxes),
        [box for box, _ in detections],
        [score for _, score in detections],
        np.ones(len(detections), int),
    )
    return metric.result()


@pytest.mark.parametrize(
    ("rule", "expected"),
    # hit, miss, hit of 2 boxes: precision 1 up to recall 1/2 (levels 0 .. 0.5), then 2/3.
    [("voc07", (6 * 1 + 5 * 2 / 3) / 11), ("voc12", 1 / 2 * 1 + 1 / 2 * 2 / 3)],
)
def test_hit_miss_hit(rule, expected):
    result = _evaluate(rule, [A, B], [(A, 0.9), (FAR, 0.8), (B, 0.7)])
    assert result.ap[0] == pytest.approx(expected)
    assert result.mean_ap == pytest.approx(expected)
    assert (result.num_ground_truth[0], result.num_detections[0], result.num_hits[0]) == (2, 3, 2)


def test_precision_envelope_is_monotone():
    # miss, hit, hit: raw precision 0, 1/2, 2/3; the envelope is 2/3 at every recall.
    assert _evaluate("voc12", [A, B], [(FAR, 0.9), (A, 0.8), (B, 0.7)]).ap[0] == pytest.approx(
        2 / 3
    )


def test_recall_of_exactly_three_tenths_reaches_the_level():
    boxes = [[0, 20 * i, 10, 20 * i + 10] for i in range(10)]
    result = _evaluate("voc07", boxes, [(box, 0.9) for box in boxes[:3]])
    assert result.ap[0] == pytest.approx(4 / 11)


@pytest.mark.parametrize("rule", ["voc07", "voc12"])
def test_perfect_detections_have_ap_one(rule):
    assert _evaluate(rule, [A, B], [(A, 0.1), (B, 0.2)]).ap[0] == pytest.approx(1)


def test_second_detection_of_a_box_is_a_miss():
    result = _evaluate("voc12", [A, B], [(A, 0.9), (A, 0.8), (B, 0.7)])
    assert result.ap[0] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_detection_whose_best_box_is_taken_does_not_fall_back_to_another():
    # The second detection overlaps both boxes by more than 0.5, and the taken one most.
    near = [0, 1, 10, 11]
    assert _evaluate("voc12", [A, near], [(A, 0.9), (A, 0.8)]).num_hits[0] == 1


def test_overlap_must_be_strictly_above_the_threshold():
    half = [0, 0, 5, 10]
    assert _evaluate("voc12", [A], [(half, 0.9)]).ap[0] == 0
    assert _evaluate("voc12", [A], [([0, 0, 5.01, 10], 0.9)]).ap[0] == 1
    assert _evaluate("voc12", [A], [(half, 0.9)], iou_threshold=0.49).ap[0] == 1


def test_areas_have_no_extra_pixel():
    # IoU 1/2 on a 2x2 box; with the development kit's "+1" it would be 6/9.
    assert _evaluate("voc12", [[0, 0, 2, 2]], [([0, 0, 1, 2], 0.9)]).ap[0] == 0


def test_difficult_box_is_neither_hit_nor_miss():
    result = _evaluate("voc12", [A, B], [(A, 0.9), (A, 0.85), (B, 0.8)], difficult=[True, False])
    assert result.ap[0] == pytest.approx(1)
    assert (result.num_ground_truth[0], result.num_difficult[0]) == (1, 1)


def test_class_with_only_difficult_boxes_has_no_ap():
    result = _evaluate("voc07", [A], [(A, 0.9)], difficult=[True])
    assert math.isnan(result.ap[0])
    assert math.isnan(result.mean_ap)


def test_mean_is_over_classes_with_ground_truth():
    metric = VocAP(["found", "missed", "absent"], rule="voc12")
    metric.add([A, B], [1, 2], [False, False], [A, A], [0.9, 0.8], [1, 3])
    result = metric.result()
    np.testing.assert_array_equal(result.ap, [1, 0, np.nan])
    assert result.mean_ap == pytest.approx(1 / 2)


def test_empty_pictures_and_no_pictures():
    metric = VocAP(["thing"])
    assert math.isnan(metric.result().mean_ap)
    metric.add(NO_BOXES, [], [], [], [], [])
    assert math.isnan(metric.result().mean_ap)
    metric.add([A], [1], [False], [], [], [])
    assert metric.result().mean_ap == 0
    assert metric.result().num_images == 2


def test_false_alarm_on_a_picture_without_objects_lowers_the_ap():
    metric = VocAP(["thing"], rule="voc12")
    metric.add([A], [1], [False], [A], [0.5], [1])
    metric.add(NO_BOXES, [], [], [A], [0.9], [1])
    assert metric.result().mean_ap == pytest.approx(1 / 2)


@pytest.mark.parametrize(("order", "expected"), [([A, FAR], 1), ([FAR, A], 1 / 2)])
def test_ties_keep_the_order_of_arrival(order, expected):
    result = _evaluate("voc12", [A], [(box, 0.5) for box in order])
    assert result.ap[0] == pytest.approx(expected)


def test_result_does_not_depend_on_the_unit():
    gt, found = np.array([A, B]), np.array([A, [0, 22, 10, 32]])
    pixels, normalised = VocAP(["thing"]), VocAP(["thing"])
    for metric, scale in ((pixels, 1), (normalised, 1 / 60)):
        metric.add(gt * scale, [1, 1], [0, 0], found * scale, [0.9, 0.8], [1, 1])
    assert pixels.result().mean_ap == normalised.result().mean_ap == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gt_labels": [0]}, "ground truth labels: class id 0 is outside 1..1"),
        ({"classes": [2]}, "detection classes: class id 2 is outside 1..1"),
        ({"scores": [0.1, 0.2]}, r"detections: scores have shape \[2\], expected \[1\]"),
        ({"boxes": [[1, 2, 3]]}, r"detections: boxes have shape \[1, 3\], expected \[N, 4\]"),
        ({"scores": [math.nan]}, "scores contain NaN"),
        ({"gt_boxes": [[0, 0, math.nan, 1]]}, "ground truth: boxes contain NaN"),
        ({"gt_difficult": []}, r"ground truth: difficult have shape \[0\]"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {
        "gt_boxes": [A],
        "gt_labels": [1],
        "gt_difficult": [False],
        "boxes": [A],
        "scores": [0.9],
        "classes": [1],
    }
    metric = VocAP(["thing"])
    with pytest.raises(ValueError, match=message):
        metric.add(**{**arguments, **changes})
    assert metric.result().num_images == 0


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="unknown AP rule 'coco': expected one of voc07, voc12"):
        VocAP(["thing"], rule="coco")
    with pytest.raises(ValueError, match="class_names is empty"):
        VocAP([])
    with pytest.raises(ValueError, match="iou_threshold is 50"):
        VocAP(["thing"], iou_threshold=50)
    with pytest.raises(ValueError, match="cannot merge: rule differ"):
        VocAP(["thing"], rule="voc07").merge(VocAP(["thing"], rule="voc12"))


# A second implementation: exact integers, one global list per class, no arrays.


def _slow_iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return Fraction(0)
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return Fraction(height * width, sum(area) - height * width)


def _slow_ap(pictures, class_id, rule):
    """pictures: list of (ground truth (box, class, difficult), detections (box, class, score))."""
    positives = sum(c == class_id and not d for gts, _ in pictures for _, c, d in gts)
    if not positives:
        return math.nan
    found = [
        (-score, picture, number, box)
        for picture, (_, detections) in enumerate(pictures)
        for number, (box, c, score) in enumerate(detections)
        if c == class_id
    ]
    taken, curve, hits, misses = set(), [], 0, 0
    for _, picture, _, box in sorted(found):
        best, best_iou = None, Fraction(1, 2)
        for number, (gt_box, c, difficult) in enumerate(pictures[picture][0]):
            if c == class_id and _slow_iou(box, gt_box) > best_iou:
                best, best_iou = (picture, number, difficult), _slow_iou(box, gt_box)
        if best is not None and best[2]:
            continue
        if best is None or best in taken:
            misses += 1
        else:
            hits += 1
            taken.add(best)
        curve.append((Fraction(hits, positives), Fraction(hits, hits + misses)))

    def precision_from(recall):
        return max((p for r, p in curve if r >= recall), default=Fraction(0))

    if rule == "voc07":
        return float(sum(precision_from(Fraction(k, 10)) for k in range(11)) / 11)
    steps = [Fraction(k, positives) for k in range(1, positives + 1)]
    return float(sum(precision_from(step) for step in steps) / positives)


_box = st.builds(
    lambda y, x, h, w: (y, x, y + h, x + w),
    *[st.integers(0, 4)] * 2,
    *[st.integers(2, 6)] * 2,
)
_ground_truth = st.tuples(_box, st.integers(1, 2), st.booleans())
_detection = st.tuples(_box, st.integers(1, 2), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]))
_pictures = st.lists(
    st.tuples(st.lists(_ground_truth, max_size=5), st.lists(_detection, max_size=8)), max_size=4
)


def _add(metric, picture):
    ground_truth, detections = picture
    gt_boxes, gt_labels, difficult = zip(*ground_truth) if ground_truth else ([], [], [])
    boxes, classes, scores = zip(*detections) if detections else ([], [], [])
    metric.add(gt_boxes, gt_labels, difficult, boxes, scores, classes)


@settings(max_examples=150, deadline=None)
@given(_pictures, st.sampled_from(["voc07", "voc12"]))
def test_equals_the_slow_implementation_and_merging_equals_one_pass(pictures, rule):
    whole, first, second = (VocAP(["one", "two"], rule=rule) for _ in range(3))
    for number, picture in enumerate(pictures):
        _add(whole, picture)
        _add(first if number < len(pictures) // 2 else second, picture)
    first.merge(second)
    expected = [_slow_ap(pictures, class_id, rule) for class_id in (1, 2)]
    np.testing.assert_allclose(whole.result().ap, expected, atol=1e-12)
    np.testing.assert_array_equal(first.result().ap, whole.result().ap)
