"""Fetches the public data sets into the layout of this project: `python -m tools.download --help`.

Checksums: VOC and SBD those of torchvision's datasets, COCO those of tensorflow-datasets.
"""

import argparse
import signal
import sys
from dataclasses import dataclass

from tabulate import tabulate

import paths
from tools import archives, coco_minival

_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_SBD = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours"
_COCO = "http://images.cocodataset.org"


@dataclass(frozen=True)
class Archive:
    """A file to fetch and unpack.

    `sets`: the names that ask for it; `size`: bytes; `checksum`: "md5:..." or "sha256:...";
    `into`: the folder below the data root that it is unpacked in; `gives`: what is there then.
    """

    sets: tuple
    url: str
    size: int
    checksum: str
    into: str
    gives: str

    @property
    def file(self):
        """The name of the file."""
        return self.url.rsplit("/", 1)[1]


def _images(set_name, split, size, sha256):
    url = f"{_COCO}/zips/{split}.zip"
    into = "coco/images"
    return Archive((set_name,), url, size, f"sha256:{sha256}", into, f"{into}/{split}")


def _annotations(sets, name, size, sha256, gives):
    url = f"{_COCO}/annotations/{name}.zip"
    return Archive(sets, url, size, f"sha256:{sha256}", "coco", f"coco/annotations/{gives}.json")


ARCHIVES = (
    Archive(
        ("voc07",),
        f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
        460032000,
        "md5:c52e279531787c972589f7e41ab4ae64",
        ".",
        "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",
    ),
    Archive(
        ("voc07",),
        f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
        451020800,
        "md5:b6e924de25625d8de591ea690078ad9f",
        ".",
        "VOCdevkit/VOC2007/ImageSets/Main/test.txt",
    ),
    Archive(
        ("voc12",),
        f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
        1999639040,
        "md5:6cd6e144f989b92b3379bac3b3de84fd",
        ".",
        "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt",
    ),
    Archive(
        ("sbd",),
        f"{_SBD}/benchmark.tgz",
        1419539633,
        "md5:82b4d87ceb2ed10f6038a1cba92111cb",
        ".",
        "benchmark_RELEASE/dataset/cls",
    ),
    _annotations(
        ("coco14",),
        "annotations_trainval2014",
        252872794,
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
        "instances_val2014",
    ),
    # Its val2017 says which pictures of val2014 are in minival2014.
    _annotations(
        ("coco14", "coco17"),
        "annotations_trainval2017",
        252907541,
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        "instances_val2017",
    ),
    _images(
        "coco14",
        "train2014",
        13510573713,
        "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    ),
    _images(
        "coco14",
        "val2014",
        6645013297,
        "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    ),
    _images(
        "coco17",
        "train2017",
        19336861798,
        "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
    _images(
        "coco17",
        "val2017",
        815585330,
        "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    ),
    _annotations(
        ("coco15-test",),
        "image_info_test2015",
        1887164,
        "cf400242f8497257fb8a3e369bc766491f4a7e42625fb3d72555504e9a8c3b18",
        "image_info_test-dev2015",
    ),
    _images(
        "coco15-test",
        "test2015",
        13270587935,
        "1a2aa896b81140a850a78fa8bff07d455698d2abf364ff05721763458a8101ca",
    ),
    _annotations(
        ("coco17-test",),
        "image_info_test2017",
        1144034,
        "e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",
        "image_info_test-dev2017",
    ),
    _images(
        "coco17-test",
        "test2017",
        6646970404,
        "c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",
    ),
)

_DESCRIPTION = """\
Fetch VOC, SBD and COCO below the data root, in the layout that the encoders read. Files are
checked and unpacked one after the other, and those that cannot be fetched are listed; a stopped
run goes on when the same command is given again. Where there is no network, fetch a file
elsewhere and put it in <data root>/downloads.
"""
_EXAMPLE = """\
examples:
  python -m tools.download --list
  python -m tools.download voc07 voc12 sbd
  python -m tools.download val2017.zip annotations_trainval2017.zip --data_root /data
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.download",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    sets = ", ".join(_set_names())
    add("names", nargs="*", type=_name, metavar="NAME", help=f"{sets}, or a file of --list")
    add("--list", action="store_true", help="show the files, their sizes and places, fetch none")
    add("--data_root", metavar="DIR", help="gets the data (default: $BLITZNET_DATA or data/)")
    add("--keep", action="store_true", help="keep the files in downloads/ once they are unpacked")
    return parser


def _set_names():
    return list(dict.fromkeys(name for archive in ARCHIVES for name in archive.sets))


def _name(text):
    if not _chosen([text]):
        valid = ", ".join(_set_names())
        raise argparse.ArgumentTypeError(f"{text!r} is none of {valid}, nor a file of --list")
    return text


def _chosen(names):
    """The archives that the names of sets and files ask for, each once, in the table's order."""
    return [a for a in ARCHIVES if a.file in names or set(a.sets) & set(names)]


def main(argv=None):
    """Run the tool; answers the exit code: 0, 1 for an error, 130 when interrupted."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.names and not args.list:
        parser.error("say what to fetch; --list shows what there is")
    root = paths.data_root(args.data_root)
    try:
        if args.list:
            _print_table(root, _chosen(args.names) if args.names else ARCHIVES)
            return 0
        failed = _install_all(_chosen(args.names), root, args.keep)
        coco_minival.write_lists(root / "coco" / "annotations")
    except KeyboardInterrupt:
        print("error: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(failed)


def _install_all(chosen, root, keep):
    """Install each archive, telling of those that cannot be; whether there were any."""
    failed = False
    for archive in chosen:
        try:
            install(archive, root, keep)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    return failed


def install(archive, root, keep=False):
    """Fetch, check and unpack an `Archive` below the data root, unless an earlier run did.

    The file is deleted when it is unpacked, unless `keep`. Raises as `archives.fetch` and
    `archives.unpack` do, and ValueError if the file does not hold what it should.
    """
    place = root / archive.gives
    if _is_installed(archive, root):
        print(f"{archive.file}: done already ({place})")
        return
    path = root / "downloads" / archive.file
    archives.fetch(archive.url, path, archive.checksum)
    archives.unpack(path, root / archive.into)
    if not place.exists():
        raise ValueError(f"{path} is unpacked in {root / archive.into}, but brought no {place}")
    _stamp(archive, root).touch()
    if not keep:
        path.unlink()
    print(f"{archive.file}: done ({place})")


def _stamp(archive, root):
    """An empty file that says that the archive was unpacked to its end."""
    return root / "downloads" / f"{archive.file}.done"


def _is_installed(archive, root):
    return _stamp(archive, root).is_file() and (root / archive.gives).exists()


def _print_table(root, chosen):
    rows = [
        (
            ", ".join(archive.sets),
            archive.file,
            f"{archive.size / 1e6:,.0f} MB",
            "yes" if _is_installed(archive, root) else "no",
            archive.gives,
            archive.url,
        )
        for archive in chosen
    ]
    headers = ("name", "file", "size", "done", "brings", "from")
    print(tabulate(rows, headers=headers, colalign=("left", "left", "right")))
    total = sum(archive.size for archive in chosen)
    print(f"together {total / 1e9:.1f} GB, and as much again once unpacked, in {root}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
