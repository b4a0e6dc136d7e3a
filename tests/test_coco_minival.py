"""val2014's annotations split as minival2014 and valminusminival2014."""

import json

import pytest

from file_server import names_in
from tools import coco_minival


def write_coco(folder, split, ids):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in ids]
    boxes = [{"id": 10 * i + k, "image_id": i} for i in ids for k in range(2)]
    content = {"info": split, "images": images, "annotations": boxes, "categories": [{"id": 1}]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"instances_{split}.json").write_text(json.dumps(content))


def test_val2014_is_split_by_the_pictures_of_val2017(tmp_path):
    write_coco(tmp_path, "val2014", [1, 2, 3, 5])
    coco_minival.write_lists(tmp_path)
    assert names_in(tmp_path) == ["instances_val2014.json"]
    write_coco(tmp_path, "val2017", [5, 2])
    coco_minival.write_lists(tmp_path)
    for split, ids in (("minival2014", [2, 5]), ("valminusminival2014", [1, 3])):
        content = json.loads((tmp_path / f"instances_{split}.json").read_text())
        assert [image["id"] for image in content["images"]] == ids
        assert [box["id"] for box in content["annotations"]] == [
            10 * i + k for i in ids for k in range(2)
        ]
        assert content["categories"] == [{"id": 1}]


def test_lists_that_are_there_stay(tmp_path):
    for split in ("val2014", "val2017", "minival2014"):
        write_coco(tmp_path, split, [1])
    before = (tmp_path / "instances_minival2014.json").read_bytes()
    coco_minival.write_lists(tmp_path)
    assert (tmp_path / "instances_minival2014.json").read_bytes() == before
    others = json.loads((tmp_path / "instances_valminusminival2014.json").read_text())
    assert (others["images"], others["annotations"]) == ([], [])


def test_a_val2017_of_other_pictures_is_refused(tmp_path):
    write_coco(tmp_path, "val2014", [1, 2])
    write_coco(tmp_path, "val2017", [2, 7])
    with pytest.raises(ValueError, match="instances_val2017.json names the picture 7"):
        coco_minival.write_lists(tmp_path)
