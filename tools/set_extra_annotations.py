"""Turns SBD's annotations into VOC 2012's masks: `python -m tools.set_extra_annotations --help`."""

import argparse
import os
import signal
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from tabulate import tabulate

import paths
from blitznet.progress import progress_bar
from blitznet.visualize import palette_png
from datasets import voc
from datasets.info import VOC, BadExample
from tools.flags.fields import number_in

NAMES_FILE = paths.CHECKOUT / "datasets" / "data" / "train_aug.txt"
FROM_SBD, FROM_VOC, THERE = "from SBD", "VOC's own", "there already"

_DESCRIPTION = """\
Write the masks of VOC 2012's extended training set, 10,582 pictures, and their list:
VOCdevkit/VOC2012/SegmentationClassAug/*.png and ImageSets/SegmentationAug/train.txt.

SBD (the Semantic Boundaries Dataset) annotated VOC's pictures anew, in polygons and without the
band of ignored pixels round each object. The pictures of VOC's own Segmentation/train.txt take
VOC's mask, which is finer; the others take SBD's.
"""
_EXAMPLE = """\
example:
  python -m tools.download voc12 sbd
  python -m tools.set_extra_annotations
  python -m tools.encode_voc --split train --augmented

A run that was stopped goes on where it was when the same command is given again.
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.set_extra_annotations",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sbd", metavar="DIR", help="holds dataset/cls (default: <data root>/benchmark_RELEASE)")
    add("--data_root", metavar="DIR", help="holds VOCdevkit (default: $BLITZNET_DATA or data/)")
    add("--overwrite", action="store_true", help="write masks again that are there already")
    add(
        "--workers",
        type=number_in(1, kind=int),
        metavar="N",
        default=os.cpu_count(),
        help="threads, each at one mask (default: one per core)",
    )
    return parser


def main(argv=None):
    """Run the tool; answers the exit code: 0, 1 for a user's error, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    root = paths.data_root(args.data_root)
    sbd = Path(args.sbd).expanduser() if args.sbd else root / "benchmark_RELEASE"
    try:
        annotate(paths.voc_dir(root, "12"), sbd, args.workers, args.overwrite)
    except KeyboardInterrupt:
        print("error: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def annotate(voc_dir, sbd, workers=1, overwrite=False):
    """Write every mask and, once all are there, the list; print where the masks came from.

    Args: `voc_dir` the folder VOC2012; `sbd` the folder benchmark_RELEASE; `workers` threads;
    `overwrite` does not spare the masks that are there.

    Raises FileNotFoundError without one of the folders, ImportError without scipy, ValueError
    naming the masks that could not be made, after making the others.
    """
    names = NAMES_FILE.read_text(encoding="utf-8").split()
    classes = sbd / "dataset" / "cls"
    for folder, download in ((voc_dir, "voc12"), (classes, "sbd")):
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}: {_advice(download)}")
    _import_loadmat()
    official = set(voc.read_list(voc_dir, "Segmentation/train"))
    masks = voc_dir / "SegmentationClassAug"
    masks.mkdir(exist_ok=True)

    def write(name):
        target = masks / f"{name}.png"
        if target.is_file() and not overwrite:
            return THERE
        try:
            if name in official:
                _write_whole(target, _voc_mask(voc_dir / "SegmentationClass" / f"{name}.png"))
                return FROM_VOC
            _write_whole(target, palette_png(read_sbd(classes / f"{name}.mat")))
            return FROM_SBD
        except BadExample as error:
            return error

    _report(masks, _in_threads(write, names, workers))
    image_list = voc_dir / "ImageSets" / "SegmentationAug" / "train.txt"
    image_list.parent.mkdir(exist_ok=True)
    _write_whole(image_list, "".join(f"{name}\n" for name in names).encode())
    print(f"{image_list}: {len(names)} names")


def _report(folder, outcomes):
    """Print how many masks came from where; raise ValueError if any is missing."""
    bad = [outcome for outcome in outcomes if isinstance(outcome, BadExample)]
    counts = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
    rows = [(source, counts[source]) for source in (FROM_VOC, FROM_SBD, THERE)]
    print(tabulate([*rows, ("missing or bad", len(bad))], headers=("masks", "pictures")))
    print(f"{folder}: {len(outcomes) - len(bad)} masks")
    if bad:
        from datasets.shards import describe_bad  # with TensorFlow, which takes seconds

        raise ValueError(f"{describe_bad(bad)}\nthe list is written once all masks are there")


def read_sbd(path):
    """Class ids, uint8 `[H, W]`, of a picture: `GTcls.Segmentation` of a .mat of SBD's cls folder.

    Raises BadExample for a file that is missing, damaged, or of another content.
    """
    if not path.is_file():
        raise BadExample(path, f"missing: {_advice('sbd')}")
    loadmat = _import_loadmat()
    try:
        content = loadmat(path, variable_names=["GTcls"])
    except Exception as error:  # damage shows as whatever the parser stumbles over
        raise BadExample(path, f"truncated or not a .mat file ({error})") from error
    try:
        ids = np.asarray(content["GTcls"]["Segmentation"][0, 0])
    except (KeyError, IndexError, ValueError):
        reason = "expected the struct GTcls with Segmentation, as in SBD's folder dataset/cls"
        raise BadExample(path, reason) from None
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "uif":
        raise BadExample(path, f"Segmentation is {ids.dtype} {list(ids.shape)}, not class ids")
    unknown = set(np.unique(ids)) - {*range(VOC.num_classes), VOC.ignore_label}
    if unknown:
        raise BadExample(
            path,
            f"has the id {min(unknown)}, which is neither 0 to {VOC.num_classes - 1} "
            f"nor {VOC.ignore_label}",
        )
    return ids.astype(np.uint8)


def _import_loadmat():
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            f"{error}: scipy, which reads SBD's .mat files, comes by pip install -e .[sbd]"
        ) from None
    return loadmat


def _voc_mask(path):
    """Bytes of one of VOC's own masks."""
    if not path.is_file():
        raise BadExample(path, f"missing, though Segmentation/train names it: {_advice('voc12')}")
    return path.read_bytes()


def _advice(download):
    return f"`python -m tools.download {download}` fetches it"


def _in_threads(work, names, workers):
    """Results of `work` for all names, in order, while a bar shows how many are done."""
    bar = progress_bar(len(names), "masks")
    # Threads do: decompressing and compressing, which is most of it, run outside Python's lock.
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures = [pool.submit(work, name) for name in names]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                bar.update(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            if bar.start_time:
                bar.update(force=True)
                bar.finish(dirty=True)
    return [future.result() for future in futures]


def _write_whole(path, content):
    """Write bytes so that the file is whole or not there."""
    temporary = path.with_suffix(".tmp")  # what a killed run leaves, the next one replaces
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
