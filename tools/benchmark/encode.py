"""The command `encode` of tools.benchmark: pictures to records, beside bare copying."""

import contextlib
import functools
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from tabulate import tabulate

import paths
from tools.benchmark import machine
from tools.benchmark.flags import add_json_flag, add_number
from tools.benchmark.report import rates, write_json

_MASKS = "SegmentationClass"


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "encode",
        help="VOC's or COCO's pictures to records beside bare copying",
        description="Time what tools.encode_voc or tools.encode_coco does with a picture and its "
        "mask, and bare copying with plain work on the mask, both by turns, with one worker and "
        "with more. For VOC the latter is: read the JPEG, the XML and the palette mask, decode the "
        "mask, encode it as a grey PNG, and write JPEG, XML and PNG to one file. For COCO: read "
        "the JPEG, draw the instances by pycocotools into one map, encode it as a grey PNG, and "
        "write both; the annotations are read before. It is timed with the encoder's PNGs (limit) "
        "and with Pillow's as they are without settings (pillow).",
        epilog="example: python -m tools.benchmark encode --data_root data --dataset coco",
    )
    parser.set_defaults(command=encode)
    parser.add_argument("--dataset", choices=("voc", "coco"), default="voc", help="default: voc")
    parser.add_argument("--data_root", metavar="DIR", help="as for tools.encode_voc")
    parser.add_argument(
        "--split", metavar="LIST", help="default: trainval of VOC2012, train2017 of COCO"
    )

    add_number(parser, "--workers", [1, 2], "processes")
    add_number(parser, "--pictures", 100, "pictures of a worker's turn, the list's again and again")
    add_number(parser, "--rounds", 5, "turns of each that count, after one that does not")
    add_json_flag(parser, "the figures and every turn's time")


def encode(args):
    """Run the command; print and write what came of it."""
    works_of = {"voc": voc_works, "coco": coco_works}[args.dataset]
    works = works_of(paths.data_root(args.data_root), args.split, args.pictures)
    table = [measure(works, args.pictures, workers, args.rounds) for workers in args.workers]
    print(tabulate([row["summary"] for row in table], headers="keys", floatfmt=".3f"))
    cores = machine.cores()
    print(f"{args.dataset}, CPU, {cores} cores; rates in pictures/s")
    where = {"dataset": args.dataset, "pictures": args.pictures, "cores": cores}
    write_json(args.json, {**where, "of": table})


def voc_works(root, split, count):
    """What is timed on VOC2012's pictures of Segmentation/`split`.

    Returns:
      dict: `encode`, `limit` and `pillow`, picklable functions that write `count` pictures to a
      folder and answer when they began and ended.
    """
    from datasets import pictures as pictures_of
    from datasets import voc
    from datasets.info import VOC

    voc_dir = paths.voc_dir(root, "12")
    names = _repeated(voc.read_list(voc_dir, f"Segmentation/{split or 'trainval'}"), count)
    read = functools.partial(voc.read_example, voc_dir, info=VOC, mask_folder=_MASKS)
    pictures = [(name,) for name in names]
    return {
        "encode": functools.partial(encode_pictures, read, pictures, VOC.class_names),
        "limit": functools.partial(copy_voc, pictures_of.mask_bytes, voc_dir, names),
        "pillow": functools.partial(copy_voc, pillow_png, voc_dir, names),
    }


def coco_works(root, split, count):
    """What is timed on COCO's pictures of `split`; see `voc_works`."""
    from datasets import coco
    from datasets import pictures as pictures_of
    from datasets.record_sets import CocoSet

    coco_dir, record_set = paths.coco_dir(root), CocoSet(split or "train2017", True)
    annotations = coco.read_split(coco_dir, record_set)
    folder = coco.picture_folder(coco_dir, record_set.image_folder)
    pictures = _repeated(list(annotations.pictures.items()), count)
    known = {"folder": folder, "annotations": annotations.path, "info": coco.COCO}
    read = functools.partial(coco.read_example, **known, segmentation=True)
    return {
        "encode": functools.partial(encode_pictures, read, pictures, coco.COCO.class_names),
        "limit": functools.partial(copy_coco, pictures_of.mask_bytes, folder, pictures),
        "pillow": functools.partial(copy_coco, pillow_png, folder, pictures),
    }


def _repeated(pictures, count):
    """The first `count` of a list that begins again and again."""
    return (pictures * (count // len(pictures) + 1))[:count]


def measure(works, pictures, workers, rounds):
    """Turns of `workers` processes, each of which does each work of `voc_works`, at once.

    Returns:
      dict for JSON: `seconds` of each turn of every work; `summary`, see `summarise`.
    """
    context = multiprocessing.get_context("spawn")
    seconds = {name: [] for name in works}
    together = context.Barrier(workers)
    with ProcessPoolExecutor(workers, context, _enter_worker, (together,)) as pool:
        for number in range(rounds + 1):
            for name, work in works.items():
                # A folder for each turn: to overwrite a file would be to wait for its blocks.
                with contextlib.ExitStack() as stack:
                    places = [tempfile.TemporaryDirectory() for _ in range(workers)]
                    folders = [stack.enter_context(place) for place in places]
                    spans = list(pool.map(_work_together, [work] * workers, folders))
                if number:
                    ends, begins = max(end for _, end in spans), min(begin for begin, _ in spans)
                    seconds[name].append(ends - begins)
    return {"seconds": seconds, "summary": summarise(seconds, workers, pictures)}


def _enter_worker(together):
    global _together
    _together = together


def _work_together(work, folder):
    """`work(folder)`, once every process of the pool has such a task: none gets two of a turn."""
    _together.wait()
    return work(folder)


def encode_pictures(read, pictures, class_names, folder):
    """Write the records of pictures as the encoders do; (begin, end).

    `read` makes an example of each of the tuples `pictures`.
    """
    import tensorflow as tf

    from datasets import records

    begin = time.time()
    with tf.io.TFRecordWriter(str(Path(folder) / "encoded")) as writer:
        for picture in pictures:
            writer.write(records.serialize(read(*picture), class_names))
    return begin, time.time()


def copy_voc(png, voc_dir, names, folder):
    """Copy VOC's files, masks as grey PNGs that `png` makes; (begin, end)."""
    begin = time.time()
    with open(Path(folder) / "copied", "wb") as copied:
        for name in names:
            copied.write((voc_dir / "JPEGImages" / f"{name}.jpg").read_bytes())
            copied.write((voc_dir / "Annotations" / f"{name}.xml").read_bytes())
            copied.write(png(np.asarray(Image.open(voc_dir / _MASKS / f"{name}.png"))))
    return begin, time.time()


def copy_coco(png, pictures_dir, pictures, folder):
    """Copy COCO's pictures and draw their masks, `(name, entry)` each; (begin, end)."""
    begin = time.time()
    with open(Path(folder) / "copied", "wb") as copied:
        for name, entry in pictures:
            copied.write((pictures_dir / name).read_bytes())
            size = entry["height"], entry["width"]
            ids = np.zeros(size, np.uint8, order="F")
            for each in entry["objects"]:
                outline = rle.frPyObjects(each["segmentation"], *size)
                code = rle.merge(outline) if isinstance(outline, list) else outline
                ids[rle.decode(code).view(bool)] = each["category_id"]
            copied.write(png(ids))
    return begin, time.time()


def pillow_png(ids):
    """uint8 `[H, W]` as the bytes of a grey PNG, as Pillow makes it without settings."""
    grey = io.BytesIO()
    Image.fromarray(ids).save(grey, "PNG")
    return grey.getvalue()


def summarise(seconds, workers, pictures):
    """Pictures/s of all workers together, and the share of copying.

    Args:
      seconds: `encode`, `limit` and `pillow`, of each turn, in which every worker does `pictures`.

    Returns:
      dict: `workers`; `report.rates` of encoding; `limit` and `pillow`, the medians of copying;
      `share` and `pillow_share` of them, the medians over the turns.
    """
    done = workers * pictures
    figures = rates(done, seconds["encode"])
    for name, share in (("limit", "share"), ("pillow", "pillow_share")):
        figures[name] = done / np.median(seconds[name])
        figures[share] = np.median(np.divide(seconds[name], seconds["encode"]))
    return {"workers": workers, **{name: float(value) for name, value in figures.items()}}
