"""Scores of a set by hand, the tables, the names for TensorBoard, the pictures."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from blitznet import evaluation, evaluation_pictures, evaluation_tables, examples, keys
from blitznet.evaluation_log import write_results
from blitznet.metrics.coco_ap import NUMBERS
from datasets import records
from datasets.pipeline import evaluation_dataset
from datasets.record_sets import CocoSet
from evaluation_cases import CAT_BOX, DOG_BOX, example, png, prediction, scored
from tools import encode_coco


def test_scores_of_two_pictures_by_hand():
    """Cat: a hit at 0.9, a miss at 0.8, one of two found: AP 1/2. Dog: found, AP 1.

    IoU: background 1 of 2 (one pixel is called cat), cat 1 of 2, dog 1 of 1; a pixel of 255
    does not count.
    """
    first = example([CAT_BOX, DOG_BOX], [1, 2], mask=[[0, 0], [1, 255]])
    second = example([CAT_BOX], [1], mask=[[2, 2], [2, 2]])
    found = scored(
        [
            (first, prediction([CAT_BOX, DOG_BOX], [0.9, 0.7], [1, 2], np.array([[0, 1], [1, 0]]))),
            (second, prediction([DOG_BOX], [0.8], [1], np.full((2, 2), 2))),
        ]
    )
    assert found["ap"] == {"cat": 0.5, "dog": 1.0}
    assert found["map"] == 0.75
    assert found["iou"] == {"background": 0.5, "cat": 0.5, "dog": 1.0}
    assert found["miou"] == pytest.approx(2 / 3)
    assert found["pixel_accuracy"] == pytest.approx(6 / 7)
    assert found["mean_accuracy"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert found["frequency_weighted_iou"] == pytest.approx((2 / 2 + 1 / 2 + 4 * 1) / 7)
    assert (found["images"], found["images_with_masks"]) == (2, 2)


@pytest.mark.parametrize("found_it", [True, False])
def test_a_difficult_object_neither_helps_nor_hurts(found_it):
    picture = example([CAT_BOX, DOG_BOX], [1, 1], difficult=[False, True])
    boxes = [CAT_BOX, DOG_BOX] if found_it else [CAT_BOX]
    scores = [0.5, 0.9][: len(boxes)]
    assert scored([(picture, prediction(boxes, scores, [1] * len(boxes)))])["map"] == 1.0


@pytest.mark.parametrize(("rule", "segment"), [(None, True), ("voc07", False)])
def test_one_task_alone_has_its_scores_alone(rule, segment):
    found = scored([(example([CAT_BOX], [1], mask=np.zeros((2, 2))), prediction())], rule, segment)
    assert ("map" in found, "miou" in found) == (bool(rule), segment)
    text = evaluation_tables.tables(found)
    assert ("AP" in text, "IoU" in text) == (bool(rule), segment)


def test_the_tables_have_a_row_for_each_class_and_the_mean():
    found = scored([(example([CAT_BOX], [1]), prediction([CAT_BOX], [1.0], [1]))], segment=False)
    assert evaluation_tables.tables(found).splitlines() == [
        "| class   |    AP |",
        "|---------+-------|",
        "| cat     | 1.000 |",
        "| dog     | -     |",
        "| mean    | 1.000 |",
    ]


def test_by_cocos_rule_the_twelve_numbers_and_every_table_by_hand():
    """Cats: found exactly. Dogs: a large one is found, a medium one is missed, and what is found
    on a crowd of them does not count; so their AP is 51 of 101 recall levels.
    """
    missed, crowd = [0.0, 0.5, 0.2, 0.6], [0.5, 0.0, 1.0, 0.4]
    boxes, labels = [CAT_BOX, missed, crowd, DOG_BOX], [1, 2, 2, 2]
    meter = evaluation.Evaluation(("cat", "dog"), "coco", 0.5, False, category_ids=[17, 3])
    wide = {keys.HEIGHT: 200, keys.WIDTH: 400}
    area = np.array([2e4, 1600, 3e4, 2e4, 0, 0], np.float32)
    truth = example(boxes, labels, crowd=[False, False, True, False], source_id=b"139")
    found = prediction([CAT_BOX, crowd, DOG_BOX], [0.9, 0.8, 0.7], [1, 2, 2])
    meter.add({**truth, **wide, keys.AREA: area}, found)
    scores = meter.scores()
    dog = 51 / 101
    assert scores["ap"] == pytest.approx({"cat": 1, "dog": dog}) == scores["ap50"]
    assert scores["map"] == scores["coco"]["AP"] == pytest.approx((1 + dog) / 2)
    expected = {"AP75": (1 + dog) / 2, "APs": None, "APm": 0, "APl": 1, "AR100": 0.75, "ARm": 0}
    assert {name: scores["coco"][name] for name in expected} == pytest.approx(expected)
    assert scores["by_size"]["AR"]["all"]["0.95"] == 0.75
    assert scores["by_size"]["AP"]["small"]["0.50"] is None
    json.dumps(scores, allow_nan=False)

    lines = evaluation_tables.tables(scores).splitlines()
    assert [word.strip() for word in lines[0].strip("|").split("|")] == list(NUMBERS)
    assert [word for word in lines[2].split() if word != "|"][:6] == (
        ["0.752", "0.752", "0.752", "-", "0.000", "1.000"]
    )
    (of_medium,) = [line.split() for line in lines if line.startswith("| AR medium")]
    assert of_medium.count("0.000") == 11
    assert "| dog     | 0.505 |  0.505 |" in lines
    for table in evaluation_tables.tables(scores).split("\n\n"):
        assert len({len(line) for line in table.splitlines()}) == 1, "columns are aligned"

    (first, *_, last) = meter.coco_results()
    assert first == {"image_id": 139, "category_id": 17, "bbox": [0, 0, 200, 100], "score": 0.9}
    assert last["category_id"] == 3


@pytest.mark.slow
def test_real_coco_through_records_scores_as_its_own_files_do(shared_data, tmp_path):
    """The boxes of val2017, shifted at random, against its annotations by pycocotools alone."""
    flags = ["--split", "val2017", "--data_root", shared_data, "--records", tmp_path]
    assert encode_coco.main([str(flag) for flag in [*flags, "--workers", 1]]) == 0
    info = records.open_records(tmp_path, CocoSet("val2017"))
    meter = evaluation.Evaluation(
        info.class_names, info.ap_rule, 0.5, False, category_ids=info.category_ids
    )
    rng = np.random.default_rng(1)
    for batch in evaluation_dataset([info], 32, 1):
        picture = {name: value[0].numpy() for name, value in batch.items()}
        boxes, labels, _ = examples.ground_truth(picture)
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        shifted = np.clip(boxes + rng.uniform(-0.1, 0.1, boxes.shape) * sides, 0, 1)
        scores = rng.random(len(boxes)).astype(np.float32)
        meter.add(picture, prediction(shifted.astype(np.float32), scores, labels))
    results = tmp_path / "results.json"
    write_results(results, meter.coco_results())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(shared_data / "coco" / "annotations" / "instances_val2017.json"))
        oracle = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    assert list(meter.scores()["coco"].values()) == oracle.stats.tolist()
    assert 0.3 < oracle.stats[0] < 0.9


def test_a_picture_that_cannot_be_scored_is_named():
    pair = (example([], [], mask=np.full((2, 2), 9)), prediction())
    with pytest.raises(ValueError, match=r"cat\.jpg: labels contain the class id 9"):
        scored([pair])


def test_voc_has_no_results_for_cocos_server():
    assert evaluation.Evaluation(("cat",), "voc12", 0.5, True).coco_results() is None
    assert evaluation.Evaluation(("cat",), None, 0.5, True).coco_results() is None


@pytest.mark.parametrize(
    ("text", "expected"), [(b"139", 139), (b"0", 0), (b"007", "007"), (b"2007_01", "2007_01")]
)
def test_the_id_of_a_picture_is_a_number_if_its_text_says_no_more(text, expected):
    assert examples.image_id({keys.SOURCE_ID: text}) == expected


def test_scores_go_to_tensorboard_under_their_usual_names():
    voc = {"map": 0.5, "ap": {"cat": 0.5, "dog": None}, "miou": 0.25}
    assert evaluation_tables.scalars(voc, 0.5) == {
        "PascalBoxes_Precision/mAP@0.5IOU": 0.5,
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/cat": 0.5,
        "segmentation/mIoU": 0.25,
    }
    assert evaluation_tables.scalars({"miou": None}, 0.5) == {}
    meter = evaluation.Evaluation(("cat", "dog"), "coco", 0.5, False)
    meter.add(example([CAT_BOX], [1]), prediction([CAT_BOX], [0.9], [1]))
    assert evaluation_tables.scalars(meter.scores(), 0.5) == pytest.approx(
        {
            "DetectionBoxes_Precision/mAP": 1,
            "DetectionBoxes_Precision/mAP@.50IOU": 1,
            "DetectionBoxes_Precision/mAP@.75IOU": 1,
            "DetectionBoxes_Precision/mAP (medium)": 1,
            "DetectionBoxes_Recall/AR@1": 1,
            "DetectionBoxes_Recall/AR@10": 1,
            "DetectionBoxes_Recall/AR@100": 1,
            "DetectionBoxes_Recall/AR@100 (medium)": 1,
            "DetectionBoxes_PerformanceByCategory/mAP/cat": 1,
        }
    )


def test_the_picture_shows_truth_and_prediction_side_by_side():
    picture = {
        **example([CAT_BOX], [1], mask=np.zeros((40, 60))),
        keys.ENCODED_IMAGE: png(np.full((40, 60, 3), 90)),
    }
    unsure = prediction([CAT_BOX], [0.2], [1], np.zeros((40, 60), np.uint8))
    sure = prediction([CAT_BOX], [0.9], [1], np.zeros((40, 60), np.uint8))
    drawn = [evaluation_pictures.draw(picture, p, ("cat", "dog")) for p in (unsure, sure)]
    width = drawn[0].shape[1]
    np.testing.assert_array_equal(drawn[0][:, : width // 2], drawn[1][:, : width // 2])
    assert np.any(drawn[0][:, width // 2 :] != drawn[1][:, width // 2 :])


def test_crowds_are_not_drawn_and_boxes_only_where_they_are_looked_for():
    picture = {**example([CAT_BOX], [1]), keys.ENCODED_IMAGE: png(np.full((40, 60, 3), 90))}
    empty = {**example([], []), keys.ENCODED_IMAGE: picture[keys.ENCODED_IMAGE]}
    crowd = {**picture, keys.IS_CROWD: np.array([True, False, False])}
    nothing = prediction(class_map=np.zeros((40, 60), np.uint8))
    segmented = {keys.SEMANTIC_CLASSES: nothing[keys.SEMANTIC_CLASSES]}
    pairs = (picture, nothing), (crowd, nothing), (empty, nothing), (picture, segmented)
    drawn, alone, without, unasked = (
        evaluation_pictures.draw(*pair, ("cat", "dog")) for pair in pairs
    )
    np.testing.assert_array_equal(alone, without)
    np.testing.assert_array_equal(unasked, without)
    assert np.any(drawn != without)


def test_the_files_of_a_picture_hold_class_ids_for_any_number_of_classes():
    names = [f"class {i}" for i in range(1, 201)]
    mask = np.tile(np.array([[0, 200, 255]]), (40, 20))
    truth = {**example([], [], mask=mask), keys.ENCODED_IMAGE: png(np.full((40, 60, 3), 90))}
    found = prediction(class_map=np.full((40, 60), 150))
    files = evaluation_pictures.pictures(truth, found, names)
    assert list(files) == [".png", "-classes.png", "-true-classes.png"]
    maps = [Image.open(io.BytesIO(files[n])) for n in ("-classes.png", "-true-classes.png")]
    assert [picture.mode for picture in maps] == ["P", "P"]
    np.testing.assert_array_equal(np.asarray(maps[0]), found[keys.SEMANTIC_CLASSES])
    np.testing.assert_array_equal(np.asarray(maps[1]), mask)
    boxes_alone = {n: v for n, v in found.items() if n != keys.SEMANTIC_CLASSES}
    unmasked = {**truth, keys.HAS_MASK: False}
    assert list(evaluation_pictures.pictures(unmasked, boxes_alone, names)) == [".png"]
