"""What `tools.check_data` looks at: records, or the raw files that records would be made of."""

import argparse
import functools
import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import paths
from blitznet.label_map import read_label_map
from datasets import catalog, coco, custom, inspection, records, voc
from datasets.coco_json import read_annotations
from datasets.info import VOC, DatasetInfo
from datasets.record_sets import CocoSet, OwnVocSet


@dataclass(frozen=True)
class Source:
    """A set to look at.

    Attributes:
      name: what it is called in the report.
      info: `DatasetInfo` of its classes.
      examples: `() -> iterator` of examples, a BadExample in the place of an unreadable one.
      count: number of these.
      stated: number of pictures that its JSON states, None where nothing does.
      has_boxes: False where nothing is known about objects.
    """

    name: str
    info: DatasetInfo
    examples: Callable
    count: int
    stated: int = None
    has_boxes: bool = True


def open_sources(args):
    """The `Source` of each set that the flags name, all of the same classes.

    Raises FileNotFoundError for what is not there and ValueError for flags that do not go
    together, with what to do.
    """
    segment = args.segment or not args.detect
    if args.root:
        sources = [_own_voc(args, segment)]
    elif args.annotations:
        sources = [_own_coco(args, segment)]
    elif args.dataset == catalog.CUSTOM:
        sources = _custom_records(args)
    else:
        sets = catalog.training_sets(args.dataset, args.split, segment)
        sources = [_raw(args, each) if args.raw else _records(args, each) for each in sets]
    for other in sources[1:]:
        if other.info.class_names != sources[0].info.class_names:
            raise ValueError(f"{other.name} and {sources[0].name} have different classes")
        if other.info.of_pictures != sources[0].info.of_pictures:
            raise ValueError(
                f"of {other.name} and {sources[0].name} one has classes of whole pictures, the "
                "other of objects: look at one at a time"
            )
    return sources


def open_others(args):
    """The sources that `--against` names, found where those of `open_sources` are."""
    sources = []
    for name in args.against:
        if args.root:
            changed = {"split": name}
        elif args.annotations:
            changed = {"annotations": name}
        elif args.dataset == catalog.CUSTOM:
            changed = {"train_records": [name]}
        else:
            dataset, _, split = name.partition(":")
            changed = {"dataset": dataset, "split": split or "train"}
        sources += open_sources(argparse.Namespace(**{**vars(args), **changed}))
    return sources


def _records(args, record_set):
    root = paths.data_root(args.data_root)
    folder = paths.records_dir(root, args.records)
    info = records.open_records(folder, record_set, root if args.data_root else None)
    return _of_records(info, info.images)


def _of_records(info, stated):
    return Source(
        info.name,
        DatasetInfo(
            info.name, info.class_names, info.ignore_label, of_pictures=info.has_class_labels
        ),
        functools.partial(inspection.read_records, info),
        inspection.count_records(info.files),
        stated,
        info.has_boxes,
    )


def _custom_records(args):
    """Sets by their JSONs; bare TFRecords make one set and are not looked at beforehand."""
    if not args.train_records:
        raise ValueError("--dataset custom needs --train_records")
    files = [file for pattern in args.train_records for file in glob.glob(pattern) or [pattern]]
    described = [file for file in files if file.endswith(".json")]
    sets = custom.open_custom(described, args.label_map)
    sources = [_of_records(info, info.images) for info in sets]
    bare = sorted(set(files) - set(described) - {file for info in sets for file in info.files})
    if not bare:
        return sources
    missing = [file for file in bare if not Path(file).is_file()]
    if missing:
        raise FileNotFoundError(f"no file {missing[0]}, which --train_records names")
    if not args.label_map:
        raise ValueError(f"{bare[0]} does not name its classes: give --label_map FILE")
    names = read_label_map(args.label_map)
    info = records.RecordsInfo(bare[0], names, VOC.ignore_label, tuple(bare), 0, 0, {})
    return [*sources, _of_records(info, None)]


def _raw(args, record_set):
    root = paths.data_root(args.data_root)
    if not isinstance(record_set, CocoSet):
        info = VOC
        if args.label_map:
            info = DatasetInfo(args.label_map, read_label_map(args.label_map))
        return _voc_files(paths.voc_dir(root, record_set.year), record_set, info, True)
    coco_dir = paths.coco_dir(root)
    annotations = coco.read_split(coco_dir, record_set)
    folder = coco.picture_folder(coco_dir, record_set.image_folder)
    return _coco_files(
        record_set.name,
        annotations,
        folder,
        coco.COCO,
        record_set.segmentation,
        record_set.has_boxes,
    )


def _own_voc(args, segment):
    if not args.label_map:
        raise ValueError("--root needs --label_map: the classes of your own")
    root = Path(args.root)
    record_set = OwnVocSet(str(root), root.resolve().name, args.label_map, args.split, segment)
    info = DatasetInfo(args.label_map, read_label_map(args.label_map))
    has_boxes = not segment or (root / "Annotations").is_dir()
    return _voc_files(root, record_set, info, has_boxes)


def _own_coco(args, segment):
    folder = Path(args.images or Path(args.annotations).parent)
    annotations = read_annotations(args.annotations, segment)
    names = read_label_map(args.label_map) if args.label_map else None
    info = coco.own_info(annotations, args.label_map, names)
    return _coco_files(Path(args.annotations).stem, annotations, folder, info, segment, True)


def _voc_files(voc_dir, record_set, info, has_boxes):
    names = voc.read_list(voc_dir, record_set.image_list)
    read = functools.partial(
        voc.read_example,
        voc_dir,
        info=info,
        mask_folder=record_set.mask_folder,
        masks_required=record_set.masks_required,
        has_boxes=has_boxes,
    )
    examples = functools.partial(inspection.read_pictures, names, read)
    return Source(f"{record_set.name} (raw)", info, examples, len(names), has_boxes=has_boxes)


def _coco_files(name, annotations, folder, info, segment, has_boxes):
    found = annotations.pictures

    def read(picture):
        return coco.read_example(
            picture,
            found[picture],
            folder=folder,
            annotations=annotations.path,
            info=info,
            segmentation=segment,
        )

    examples = functools.partial(inspection.read_pictures, list(found), read)
    return Source(f"{name} (raw)", info, examples, len(found), has_boxes=has_boxes)
