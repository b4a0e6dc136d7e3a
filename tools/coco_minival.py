"""Splits COCO's val2014 annotations into minival2014 and valminusminival2014.

The 5,000 pictures of minival2014 (R. Girshick's split) are those of val2017, under the same ids:
Detectron's datasets/data/README.md.
"""

import json
import os

# Whether a list has the pictures of val2017 or the others.
SPLITS = {"minival2014": True, "valminusminival2014": False}


def write_lists(folder):
    """Write instances_{minival,valminusminival}2014.json to the annotations folder, a Path.

    One that is there stays as it is; without instances_{val2014,val2017}.json nothing is done.
    Raises ValueError if val2017 names a picture that val2014 has not.
    """
    targets = {folder / f"instances_{split}.json": inside for split, inside in SPLITS.items()}
    missing = [path for path in targets if not path.is_file()]
    val14, val17 = (folder / f"instances_{split}.json" for split in ("val2014", "val2017"))
    if not (missing and val14.is_file() and val17.is_file()):
        return
    content = json.loads(val14.read_text(encoding="utf-8"))
    minival = {image["id"] for image in json.loads(val17.read_text(encoding="utf-8"))["images"]}
    strange = minival - {image["id"] for image in content["images"]}
    if strange:
        raise ValueError(f"{val17} names the picture {min(strange)}, which {val14} has not")
    for path in missing:
        part = _part(content, minival, targets[path])
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(part), encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        print(f"{path}: {len(part['images'])} pictures")


def _part(content, ids, inside):
    """The annotations file cut down to the pictures whose id is, or is not, in `ids`."""
    images = [image for image in content["images"] if (image["id"] in ids) is inside]
    boxes = [box for box in content["annotations"] if (box["image_id"] in ids) is inside]
    return {**content, "images": images, "annotations": boxes}
