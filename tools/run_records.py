"""The records that training.py and test.py read: found, opened, checked against the network."""

import dataclasses
import sys

import paths

_SHOWN = 4


def training_sets(args, inputs, tasks):
    """RecordsInfo of all sets to train on, a list, checked against each other and the tasks.

    They are described in print. Raises OSError or ValueError for what is missing or does not fit.
    """
    from datasets.records import check_class_labels

    opened = _training_sets(args, inputs, tasks["segment"])
    check_class_labels(opened, tasks["classify"])
    for other in opened[1:]:
        if other.class_names != opened[0].class_names:
            raise ValueError(
                f"{other.name} and {opened[0].name} have different classes: "
                f"{', '.join(other.class_names)} and {', '.join(opened[0].class_names)}"
            )
    boxless = [info.name for info in opened if not info.has_boxes]
    if boxless and tasks["detect"]:
        raise ValueError(
            f"nothing is known about the objects in {', '.join(boxless)}: detection cannot learn "
            "from it; --segment trains segmentation alone"
        )
    for info in opened:
        what = f"{info.images_with_masks} with masks"
        if info.has_class_labels:
            what = f"{len(info.class_names)} classes"
        print(f"{info.name}: {info.images} pictures, {what}")
    masks = 0 if inputs.no_seg_gt else sum(info.images_with_masks for info in opened)
    if tasks["segment"] and not masks:
        if not tasks["detect"]:
            raise ValueError(
                "the network segments alone, and no picture has a mask in "
                f"{', '.join(info.name for info in opened)}: take records that --segmentation has "
                "encoded, such as --dataset coco-seg"
            )
        print(
            "warning: no picture has a mask, so segmentation learns nothing; "
            "--detect trains detection alone",
            file=sys.stderr,
        )
    return opened


def _training_sets(args, inputs, segment):
    """RecordsInfo of every set that `--dataset` names, or `--train_records`."""
    from datasets import catalog, custom, records

    if inputs.dataset == catalog.CUSTOM:
        return custom.open_custom(inputs.train_records, inputs.label_map)
    folder, given_root = _places(args)
    sets = catalog.training_sets(inputs.dataset, inputs.split, segment)
    return [records.open_records(folder, record_set, given_root) for record_set in sets]


def evaluation_set(args, settings, tasks, description):
    """RecordsInfo of `--dataset` and `--split`, or `--eval_records`, of the run's classes.

    Raises OSError or ValueError for what is missing or does not fit.
    """
    from datasets.records import check_class_labels

    info = _evaluation_set(args, settings, tasks["segment"])
    check_class_labels([info], tasks["classify"])
    if list(info.class_names) != description["class_names"]:
        raise ValueError(
            f"{info.name} has {_brief(info.class_names)}; "
            f"the run has {_brief(description['class_names'])}: evaluate it on records of these"
        )
    return info


def _evaluation_set(args, settings, segment):
    from datasets import catalog, custom, records

    if settings.dataset == catalog.CUSTOM:
        return custom.open_one(settings.eval_records, settings.label_map)
    folder, given_root = _places(args)
    candidates = catalog.evaluation_sets(settings.dataset, settings.split, segment)
    present = [c for c in candidates if records.has_records(folder, c)]
    wanted = (present or candidates)[0]
    info = records.open_records(folder, wanted, given_root)
    # The JSON of a set may be older than its field `split`.
    return dataclasses.replace(info, split=wanted.split)


def _places(args):
    """Folder of the records, and the root of the data where a flag says it."""
    root = paths.data_root(args.data_root)
    return paths.records_dir(root, args.records), root if args.data_root else None


def _brief(names):
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} classes ({', '.join(names[:_SHOWN])}{more})"
