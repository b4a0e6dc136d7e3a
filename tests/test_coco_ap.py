"""COCO's scores: cases by hand, and pycocotools run directly on files."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from blitznet.metrics.coco_ap import IOU_THRESHOLDS, NUMBERS, SIZES, CocoAP

NAMES = ("cat", "dog", "bus")
NOTHING = np.zeros((0, 4)), [], []


def add(meter, objects=(), found=(), image_id=1, size=(100, 200)):
    """Add a picture; `objects` (box, label, is_crowd, area), `found` (box, score, class)."""
    boxes, labels, crowds, areas = zip(*objects) if objects else ([], [], [], [])
    meter.add(image_id, size, boxes, labels, crowds, areas, *(zip(*found) if found else NOTHING))


def test_one_of_two_found_before_a_miss_by_hand():
    """Recall 1/2 at precision 1: 51 of the 101 recall levels 0, .01, ... reach it, at every IoU."""
    meter = CocoAP(NAMES)
    box, other, nowhere = [0, 0, 0.5, 0.25], [0.5, 0, 1, 0.25], [0, 0.75, 0.5, 1]
    objects = [(box, 1, False, 2500.0), (other, 1, False, 900.0)]
    add(meter, objects, [(box, 0.9, 1), (nowhere, 0.8, 1)])
    found = meter.result()
    assert found.numbers["AP"] == pytest.approx(51 / 101)
    assert found.ap == pytest.approx([51 / 101, np.nan, np.nan], nan_ok=True)
    # The medium object is found, the small one is not.
    assert (found.numbers["APm"], found.numbers["APs"]) == (pytest.approx(1), 0)
    assert (found.numbers["AR100"], found.numbers["ARm"], found.numbers["ARs"]) == (0.5, 1, 0)
    assert np.isnan(found.numbers["APl"]) and np.isnan(found.ar_by_size["large"]).all()


def test_a_box_that_is_off_counts_up_to_its_iou():
    """Shifted by a fifth of its width: IoU 0.8 / 1.2 = 2/3, so right at .50 to .65, four of ten."""
    meter = CocoAP(NAMES)
    add(meter, [([0, 0, 1, 0.5], 2, False, 1e4)], [([0, 0.1, 1, 0.6], 0.5, 2)])
    found = meter.result()
    right = np.array(IOU_THRESHOLDS) < 2 / 3
    assert right.sum() == 4
    for values in (found.ap_by_size["all"], found.ap_by_size["large"], found.ar_by_size["large"]):
        np.testing.assert_allclose(values, right)
    assert np.isnan(found.ap_by_size["small"]).all()
    assert (found.numbers["AP"], found.numbers["AP75"]) == (pytest.approx(0.4), 0)
    assert found.ap50[1] == pytest.approx(1)


def test_a_detection_on_a_crowd_is_neither_right_nor_wrong():
    meter = CocoAP(NAMES)
    crowd, cat = [0, 0, 1, 0.5], [0, 0.6, 0.5, 0.9]
    objects = [(crowd, 1, True, 9000.0), (cat, 1, False, 1500.0)]
    add(meter, objects, [([0, 0, 0.4, 0.2], 0.9, 1), ([0.5, 0.2, 1, 0.4], 0.8, 1), (cat, 0.7, 1)])
    assert meter.result().numbers["AP"] == pytest.approx(1)


@pytest.mark.parametrize("pictures", [0, 1])
def test_without_ground_truth_there_is_no_score_and_nothing_is_said(pictures, capfd, recwarn):
    meter = CocoAP(NAMES)
    if pictures:
        add(meter, found=[([0, 0, 1, 1], 0.9, 1)])
    found = meter.result()
    assert np.isnan(list(found.numbers.values())).all() and np.isnan(found.ap).all()
    assert all(np.isnan(found.ap_by_size[s]).all() for s in SIZES)
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_finding_nothing_scores_zero():
    meter = CocoAP(NAMES)
    add(meter, [([0, 0, 1, 1], 1, False, 2e4)])
    found = meter.result().numbers
    assert (found["AP"], found["AR100"]) == (0, 0) and np.isnan(found["APs"])
    assert meter.detections() == []


def test_results_are_in_the_pixels_and_ids_of_the_data_set():
    meter = CocoAP(NAMES, category_ids=[17, 18, 6])
    add(meter, found=[([0.1, 0.25, 0.333333, 0.5], np.float32(0.9), 3)], image_id=139)
    assert meter.detections() == [
        {"image_id": 139, "category_id": 6, "bbox": [50.0, 10.0, 50.0, 23.33], "score": 0.9}
    ]


def random_set(rng, ids):
    """COCO's ground truth and results of twelve pictures, boxes in hundredths of a pixel."""
    images = [{"id": int(i), "height": 240, "width": 320} for i in rng.permutation(500)[:12] + 1]
    truth, results = [], []
    for image in images[:-1]:
        for _ in range(rng.integers(0, 7)):
            w, h = rng.choice([9, 50, 130], 2) + rng.random(2) * 20
            x, y = rng.random(2) * [320 - w, 240 - h]
            box = np.round([x, y, w, h], 2)
            common = {"image_id": image["id"], "category_id": int(rng.choice(ids))}
            area = float(np.float32(0.7 * box[2] * box[3]))
            crowd = int(rng.random() < 0.1)
            truth.append({**common, "bbox": box.tolist(), "area": area, "iscrowd": crowd})
            for _ in range(rng.integers(0, 4)):
                shifted = box + rng.normal(0, 0.08, 4) * [w, h, w, h]
                shifted[:2] = np.clip(shifted[:2], 0, [300, 220])
                shifted[2:] = np.clip(shifted[2:], 1, [320, 240] - shifted[:2])
                # Few different scores, so that ties have to be broken alike.
                score = int(rng.integers(1, 9)) / 8
                results.append({**common, "bbox": np.round(shifted, 2).tolist(), "score": score})
    for n, annotation in enumerate(truth, start=1):
        annotation["id"] = n
    categories = [{"id": i, "name": name} for i, name in zip(ids, NAMES)]
    return {"images": images, "annotations": truth, "categories": categories}, results


def direct(tmp_path, truth, results):
    """COCOeval of two files, as its own demonstration runs it."""
    files = tmp_path / "truth.json", tmp_path / "results.json"
    for file, content in zip(files, (truth, results)):
        file.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(files[0]))
        evaluation = COCOeval(coco, coco.loadRes(str(files[1])), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def as_yxyx(boxes, image):
    """Normalised float32 boxes, as records hold them."""
    x, y, w, h = np.reshape(boxes, (-1, 4)).T
    boxes = np.stack([y, x, y + h, x + w], axis=-1)
    return (boxes / ([image["height"], image["width"]] * 2)).astype(np.float32)


def measured(truth, results, ids):
    """The same through CocoAP, pictures in another order."""
    meter = CocoAP(NAMES, ids)
    for image in truth["images"][::-1]:
        objects = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        found = [r for r in results if r["image_id"] == image["id"]]
        meter.add(
            image["id"],
            (image["height"], image["width"]),
            as_yxyx([a["bbox"] for a in objects], image),
            [ids.index(a["category_id"]) + 1 for a in objects],
            [bool(a["iscrowd"]) for a in objects],
            np.array([a["area"] for a in objects], np.float32),
            as_yxyx([r["bbox"] for r in found], image),
            np.array([r["score"] for r in found], np.float32),
            [ids.index(r["category_id"]) + 1 for r in found],
        )
    return meter


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_files(tmp_path, seed):
    """Sparse ids that do not ascend with the classes; float32 boxes; pictures in any order."""
    ids = [18, 3, 90]
    truth, results = random_set(np.random.default_rng(seed), ids)
    oracle = direct(tmp_path, truth, results)
    meter = measured(truth, results, ids)
    found = meter.result()
    expected = [np.nan if s == -1 else s for s in oracle.stats]
    np.testing.assert_array_equal([found.numbers[n] for n in NUMBERS], expected)
    assert 0.1 < found.numbers["AP"] < 0.9

    precision, recall = oracle.eval["precision"], oracle.eval["recall"]
    for c, category in enumerate(ids):
        of_class = precision[:, :, sorted(ids).index(category), 0, -1]
        assert found.ap[c] == pytest.approx(of_class.mean())
        assert found.ap50[c] == pytest.approx(of_class[0].mean())
    for a, size in enumerate(SIZES):
        for t in range(len(IOU_THRESHOLDS)):
            for values, ours in (
                (precision[t, :, :, a, -1], found.ap_by_size),
                (recall[t, :, a, -1], found.ar_by_size),
            ):
                assert ours[size][t] == pytest.approx(values[values > -1].mean())

    written = tmp_path / "again"
    written.mkdir()
    again = direct(written, truth, meter.detections())
    np.testing.assert_array_equal(again.stats, oracle.stats)


@pytest.mark.parametrize("names_and_ids", [((), None), (NAMES, [1, 2]), (NAMES, [1, 1, 2])])
def test_classes_and_ids_have_to_fit(names_and_ids):
    with pytest.raises(ValueError, match="class_names is empty|3 different ids"):
        CocoAP(*names_and_ids)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (([[0, 0, 1, 1]], [0.5, 0.5], [1]), r"score have shape \[2\], expected \[1\]"),
        (([[0, 0, 1, 1]], [np.nan], [1]), "score contain NaN"),
        (([[0, 0, 1, np.nan]], [0.5], [1]), "boxes contain NaN"),
        (([[0, 0, 1, 1]], [0.5], [4]), r"detections: class id 4 is outside 1\.\.3"),
    ],
)
def test_bad_detections_are_named_and_nothing_is_counted(found, expected):
    meter = CocoAP(NAMES)
    with pytest.raises(ValueError, match=expected):
        meter.add(1, (10, 10), *NOTHING[:2], [], [], *found)
    assert meter.result().num_images == 0


def test_a_picture_counts_once():
    meter = CocoAP(NAMES)
    add(meter)
    with pytest.raises(ValueError, match="picture 1 is added twice"):
        add(meter)
