"""The text of `tools.check_data`: tables, what is wrong, what is worth a look."""

from tabulate import SEPARATING_LINE, tabulate

from datasets.statistics import FAULTS, SIZES

# Shares from which something is worth a look.
_MANY_SMALL = 0.05
_MANY_OUT_OF_REACH = 0.1
_MANY_EMPTY = 0.5
_SHOWN = 5


def as_text(report):
    """The report, as `check_data.make_report` answers it, for people."""
    parts = [_heading(report), tabulate(_overview(report), tablefmt="plain")]
    if report["has_boxes"]:
        parts += [_recall_table(report["boxes"]["by_size"])]
    parts += [_class_table(report)]
    parts += ["\n".join(_wrong(report["faults"])), "\n".join(_remarks(report["worth_a_look"]))]
    return "\n\n".join(parts) + "\n"


def worth_a_look(report):
    """Sentences about what is not wrong in itself, but often a mistake."""
    found = []
    pictures, boxes = report["pictures"], report["boxes"]
    if report["pictures_stated"] not in (None, pictures["all"]):
        found.append(
            f"{pictures['all']} pictures were read, the JSON states {report['pictures_stated']}"
        )
    if report["has_boxes"]:
        found += _about_boxes(report, boxes, pictures)
    if report["has_class_labels"]:
        absent = [name for name, counts in report["classes"].items() if not counts["pictures"]]
        found += [f"no picture of {_listed(absent)}"] if absent else []
    if 0 < pictures["with_masks"] < pictures["all"]:
        found.append(
            f"{pictures['without_masks']} of {pictures['all']} pictures have no mask: "
            "segmentation does not learn from them"
        )
    if pictures["with_masks"]:
        absent = [
            name
            for name, counts in report["classes"].items()
            if not counts["mask_pixels"] and (counts["objects"] or not report["has_boxes"])
        ]
        found += [f"no mask shows {_listed(absent)}"] if absent else []
    return found


def _about_boxes(report, boxes, pictures):
    found = []
    absent = [name for name, counts in report["classes"].items() if not counts["objects"]]
    if absent:
        found.append(f"no object of {_listed(absent)}")
    if pictures["without_objects"] > _MANY_EMPTY * pictures["all"]:
        found.append(
            f"{_share(pictures['without_objects'], pictures['all'])} of the pictures have no object"
        )
    if boxes["too_small"] > _MANY_SMALL * boxes["objects"]:
        found.append(
            f"{_share(boxes['too_small'], boxes['objects'])} of the objects are too "
            "small for this input and are not trained on: a larger --image_size keeps "
            "more of them"
        )
    kept = boxes["objects"] - boxes["too_small"]
    if boxes["out_of_reach"] > _MANY_OUT_OF_REACH * kept:
        finer = ["--x4"] * (not report["x4"] and report["trunk"] != "vgg16")
        finer += ["--image_size 512"] * (report["image_size"] < 512)
        hint = f" ({' or '.join(finer)} has smaller ones)" if finer else ""
        found.append(
            f"no prior box reaches {_share(boxes['out_of_reach'], kept)} of the boxes{hint}"
        )
    return found


def _heading(report):
    if report["has_class_labels"]:
        return " + ".join(report["sets"])
    network = f"input {report['image_size']} x {report['image_size']}, trunk {report['trunk']}"
    network += ", x4" if report["x4"] else ""
    return f"{' + '.join(report['sets'])}\n{network}, {report['priors']} prior boxes"


def _overview(report):
    rows = [("pictures", report["pictures"]["all"])]
    rows += _box_rows(report) if report["has_boxes"] else []
    if not report["has_class_labels"]:
        rows += [("pictures with a mask", report["pictures"]["with_masks"])]
    rows += _mask_rows(report) if report["pictures"]["with_masks"] else []
    return rows + (_size_rows(report["picture_sizes"]) if report["picture_sizes"] else [])


def _box_rows(report):
    boxes = report["boxes"]
    kept = boxes["objects"] - boxes["too_small"]
    least = f"2/{report['image_size']}"

    def with_share(part, whole):
        return f"{part} ({_share(part, whole)})"

    return [
        ("- without objects", report["pictures"]["without_objects"]),
        ("objects", boxes["objects"]),
        ("- of these difficult", boxes["difficult"]),
        (
            f"- too small (a side below {least}): training drops them",
            with_share(boxes["too_small"], boxes["objects"]),
        ),
        ("- of the rest, no prior box at IoU 0.5", with_share(boxes["out_of_reach"], kept)),
        ("crowd regions, beside the objects", boxes["crowd"]),
    ]


def _mask_rows(report):
    masks = report["mask_pixels"]
    everything = sum(_all_mask_pixels(report))
    return [
        ("- pixels of the background", _share(masks["background"], everything)),
        ("- pixels ignored", _share(masks["ignored"], everything)),
        *((f"- pixels of id {i}, which is no class", n) for i, n in masks["outside"].items()),
    ]


def _size_rows(sizes):
    rows = []
    for side in ("width", "height"):
        values = sizes[side]
        text = f"{values['least']} to {values['greatest']}, median {values['median']}"
        rows.append((f"{side} in pixels", text))
    common = ", ".join(f"{w} x {h} ({n})" for w, h, n in sizes["commonest"])
    return [*rows, ("commonest sizes", common)]


def _recall_table(by_size):
    limits = dict(zip(SIZES, ("below 32 x 32", "below 96 x 96", "larger")))
    rows = [
        (f"{size} ({limits[size]})", c["boxes"], c["reached"], _share(c["reached"], c["boxes"]))
        for size, c in by_size.items()
    ]
    headers = ("box in the network's input", "boxes", "reached at IoU 0.5", "prior recall")
    return tabulate(rows, headers, colalign=("left", "right", "right", "right"))


def _class_table(report):
    """A row for each class and one for all; recall columns are shares of the size's boxes."""
    headers = ["class"]
    if report["has_boxes"]:
        headers += ["objects", "pictures", "difficult", "crowd", "too\nsmall", "no\nprior"]
        headers += [f"recall\n{size}" for size in SIZES]
    headers += ["pictures"] if report["has_class_labels"] else []
    everything = sum(_all_mask_pixels(report))
    if everything:
        headers += ["pictures\nin masks", "mask\npixels"]

    def row(name, counts, pictures, mask_pictures, mask_pixels):
        cells = [name]
        if report["has_boxes"]:
            cells += [counts["objects"], pictures]
            cells += [counts[what] for what in ("difficult", "crowd", "too_small", "out_of_reach")]
            cells += [_share(c["reached"], c["boxes"]) for c in counts["by_size"].values()]
        cells += [pictures] if report["has_class_labels"] else []
        return cells + ([mask_pictures, _share(mask_pixels, everything)] if everything else [])

    classes = report["classes"]
    rows = [
        row(name, c, c["pictures"], c["mask_pictures"], c["mask_pixels"])
        for name, c in classes.items()
    ]
    pictures = report["pictures"]
    shown = pictures["all"] - pictures["without_objects"]
    if report["has_class_labels"]:
        shown = sum(counts["pictures"] for counts in classes.values())
    in_masks = sum(c["mask_pixels"] for c in classes.values())
    total = row("all", report["boxes"], shown, pictures["with_masks"], in_masks)
    return tabulate(
        [*rows, SEPARATING_LINE, total], headers, colalign=["left"] + ["right"] * (len(headers) - 1)
    )


def _all_mask_pixels(report):
    masks = report["mask_pixels"]
    yield from (masks["background"], masks["ignored"], *masks["outside"].values())
    yield from (counts["mask_pixels"] for counts in report["classes"].values())


def _wrong(faults):
    lines = []
    for kind, fault in faults.items():
        if fault["count"]:
            lines.append(f"  {FAULTS[kind]}: {fault['count']}")
            lines += [f"    {text}" for text in fault["examples"][:_SHOWN]]
            more = fault["count"] > _SHOWN and len(fault["examples"]) > _SHOWN
            lines += ["    ..."] if more else []
    return ["wrong:", *lines] if lines else ["wrong: nothing"]


def _remarks(sentences):
    if not sentences:
        return ["worth a look: nothing"]
    return ["worth a look:", *(f"  {sentence}" for sentence in sentences)]


def _listed(names):
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} other classes"


def _share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"
