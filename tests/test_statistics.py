"""The doctor's counts, which a hand can check, and the faults that it finds in examples."""

import numpy as np
import tensorflow as tf

from blitznet import keys
from datasets import augment
from datasets.statistics import Statistics
from example_fixture import IMAGE, example


def statistics(overlaps=lambda boxes: np.ones(len(boxes)), image_size=64):
    return Statistics(("cat", "dog"), 255, image_size, overlaps)


def counted(faults):
    return {kind: fault["count"] for kind, fault in faults.items() if fault["count"]}


def test_objects_are_counted_by_class_with_difficult_and_crowd_apart():
    stats = statistics()
    half = [0, 0, 0.5, 0.5]
    boxes = [half, [0, 0, 1, 1], [0.5, 0.5, 1, 1], half]
    stats.add(
        example("a", boxes, [1, 1, 2, 2], [True, False, False, False], [False] * 3 + [True]),
        IMAGE,
        None,
    )
    stats.add(example("b", [half], [1], encoded=b"b"), IMAGE, None)
    stats.add(example("c", [half], [2], crowd=[True], encoded=b"c"), IMAGE, None)
    summary = stats.summary()
    assert summary["pictures"] == {
        "all": 3,
        "without_objects": 1,  # c shows a crowd alone
        "with_masks": 0,
        "without_masks": 3,
    }
    counts = {
        name: [of[k] for k in ("objects", "pictures", "difficult", "crowd")]
        for name, of in summary["classes"].items()
    }
    assert counts == {"cat": [3, 2, 1, 0], "dog": [1, 1, 0, 2]}
    assert [summary["boxes"][k] for k in ("objects", "difficult", "crowd")] == [4, 1, 2]
    assert counted(summary["faults"]) == {}


def test_whole_pictures_are_counted_by_their_class_from_0():
    stats = Statistics(("cat", "dog"), 255, 64, lambda boxes: np.ones(len(boxes)), True)
    for number, label in enumerate([0, 1, 1, -1, 2]):
        found = example(f"{number}", encoded=bytes([number]))
        faults = stats.add({**found, keys.CLASS_LABEL: np.int32(label)}, IMAGE, None)
        assert faults == ([] if label in (0, 1) else ["no_class"])
    summary = stats.summary()
    assert {n: c["pictures"] for n, c in summary["classes"].items()} == {"cat": 1, "dog": 2}
    assert summary["faults"]["no_class"]["examples"] == ["3: no class", "4: class 2"]


def test_sizes_are_those_in_the_networks_input_and_recall_counts_what_is_reached():
    # At 128 pixels: a side of 0.25 is 32, 0.75 is 96, 1/64 is 2: at each limit the larger size.
    sides = [1 / 65, 1 / 64, 0.2499, 0.25, 0.7499, 0.75]
    stats = statistics(lambda boxes: np.array([0.4999, 0.5, 0.7, 0.0, 0.9]), image_size=128)
    stats.add(example(boxes=[[0, 0, s, s] for s in sides], labels=[1] * 5 + [2]), IMAGE, None)
    summary = stats.summary()
    assert summary["boxes"]["too_small"] == summary["classes"]["cat"]["too_small"] == 1
    assert summary["boxes"]["by_size"] == {
        "small": {"boxes": 2, "reached": 1},
        "medium": {"boxes": 2, "reached": 1},
        "large": {"boxes": 1, "reached": 1},
    }
    assert summary["boxes"]["out_of_reach"] == 2
    assert summary["classes"]["dog"]["by_size"]["large"] == {"boxes": 1, "reached": 1}


def test_too_small_is_what_training_drops(seeds):
    corners = np.random.rand(200, 2) * 0.9
    boxes = np.hstack([corners, corners + np.random.rand(200, 2) * 0.08]).astype(np.float32)
    trained = augment.render(
        augment.whole_frame(
            {
                keys.IMAGE: tf.zeros([8, 8, 3]),
                keys.BOXES: tf.constant(boxes),
                keys.LABELS: tf.ones(200, tf.int32),
            }
        ),
        64,
        None,
        255,
    )
    stats = statistics()
    stats.add(example(boxes=boxes, labels=[1] * 200), IMAGE, None)
    kept = 200 - stats.summary()["boxes"]["too_small"]
    assert 0 < kept < 200
    assert kept == len(trained[keys.BOXES])


def test_a_bad_box_is_named_once_and_left_out_of_the_other_counts():
    nan = float("nan")
    boxes = [[0, 0, nan, 1], [0, 0, 1, 1], [0.5, 0, 0.5, 1], [0.5, 0.5, 1.01, 1], [0, 0, 1, 1]]
    stats = statistics()
    faults = stats.add(example(boxes=boxes, labels=[1, 3, 1, 2, 2]), IMAGE, None)
    assert faults == ["not_finite", "unknown_class", "no_area", "outside"]
    assert counted(stats.faults) == dict.fromkeys(faults, 1)
    assert stats.faults["no_area"]["examples"] == ["a.jpg: object 3, class 1, at 0.5, 0, 0.5, 1"]
    assert stats.summary()["boxes"]["objects"] == 1


def test_float32_may_put_a_corner_beyond_the_edge():
    stats = statistics()
    stats.add(example(boxes=[[-1e-7, 0, np.float32(1 + 1e-6), 1]], labels=[1]), IMAGE, None)
    assert counted(stats.faults) == {}


def test_boxes_left_out_when_the_annotations_were_read_are_without_area():
    stats = statistics()
    stats.add({**example(), keys.EMPTY_BOXES: 2}, IMAGE, None)
    assert counted(stats.faults) == {"no_area": 2}


def test_duplicate_boxes_have_class_and_corners_alike():
    box, other = [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.6]
    stats = statistics()
    stats.add(example("a", [box] * 4 + [other], [1, 1, 1, 2, 1]), IMAGE, None)
    stats.add(example("b", [box], [1], encoded=b"b"), IMAGE, None)
    assert counted(stats.faults) == {"duplicate_boxes": 2}
    assert stats.faults["duplicate_boxes"]["examples"] == ["a: cat, 3 times"]


def test_pictures_of_the_same_bytes_are_found_in_the_set_and_in_another():
    stats = statistics()
    for name, encoded in (("a", b"1"), ("b", b"2"), ("c", b"1"), ("d", b"1")):
        stats.add(example(name, encoded=encoded), IMAGE, None)
    stats.compare("e", b"2")
    stats.compare("f", b"3")
    assert stats.faults["duplicate_pictures"]["examples"] == ["c is a", "d is a"]
    assert stats.faults["shared_pictures"]["examples"] == ["b is e of the other set"]


def test_mask_pixels_are_counted_and_ids_outside_the_classes_named():
    mask = np.zeros((48, 64), np.uint8)
    mask[:2], mask[2], mask[3, :5] = 2, 255, 7
    stats = statistics()
    assert stats.add(example(), IMAGE, mask) == ["mask_ids"]
    stats.add(example("b", encoded=b"b"), IMAGE, np.ones((2, 3), np.uint8))
    summary = stats.summary()
    assert summary["mask_pixels"] == {
        "background": 48 * 64 - 3 * 64 - 5,
        "ignored": 64,
        "outside": {"7": 5},
    }
    pixels = {n: (c["mask_pixels"], c["mask_pictures"]) for n, c in summary["classes"].items()}
    assert pixels == {"cat": (6, 1), "dog": (128, 1)}
    assert stats.faults["mask_size"]["examples"] == ["b: mask 3 x 2, picture 64 x 48"]
    assert summary["pictures"]["with_masks"] == 2


def test_picture_sizes_have_the_median_of_all_pictures():
    stats = statistics()
    for n, (height, width) in enumerate([(10, 30), (10, 30), (10, 30), (20, 10), (40, 20)]):
        picture = np.zeros((height, width, 3), np.uint8)
        sized = {**example(str(n), encoded=b"%d" % n), keys.HEIGHT: height, keys.WIDTH: width}
        stats.add(sized, picture, None)
    sizes = stats.summary()["picture_sizes"]
    assert sizes["width"] == {"least": 10, "median": 30, "greatest": 30}
    assert sizes["height"] == {"least": 10, "median": 10, "greatest": 40}
    assert sizes["commonest"][0] == [30, 10, 3]


def test_another_size_than_stated_is_a_fault():
    stats = statistics()
    stats.add({**example(), keys.HEIGHT: 64}, IMAGE, None)
    assert stats.faults["picture_size"]["examples"] == ["a.jpg: 64 x 48, stated 64 x 64"]


def test_many_examples_of_a_fault_are_counted_but_not_all_kept():
    stats = statistics()
    stats.add(example(boxes=[[0, 0, 0, 0]] * 150, labels=[1] * 150), IMAGE, None)
    fault = stats.faults["no_area"]
    assert (fault["count"], len(fault["examples"])) == (150, 100)
