"""The records that a training reads: opened, checked against its tasks, described."""

import sys

import paths


def open_records(args, inputs, tasks):
    """The record sets of `--dataset`, checked against each other and the tasks, and described."""
    from datasets.records import check_class_labels

    opened = find_records(args, inputs, tasks["segment"])
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
            raise ValueError("segmentation alone, but no picture has a mask")
        print(
            "warning: no picture has a mask, so segmentation learns nothing; "
            "--detect trains detection alone",
            file=sys.stderr,
        )
    return opened


def find_records(args, inputs, segment):
    """RecordsInfo of every set that `--dataset` names, or `--train_records`."""
    from datasets import catalog, custom, records

    if inputs.dataset == catalog.CUSTOM:
        return custom.open_custom(inputs.train_records, inputs.label_map)
    root = paths.data_root(args.data_root)
    folder = paths.records_dir(root, args.records)
    sets = catalog.training_sets(inputs.dataset, inputs.split, segment)
    given_root = root if args.data_root else None
    return [records.open_records(folder, record_set, given_root) for record_set in sets]
