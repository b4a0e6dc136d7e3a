"""Boxes and masks on pictures, a video or a camera: `python -m tools.demo --help`."""

import argparse
import os
import re
import signal
import sys
from pathlib import Path

from tools.flags.fields import number_in
from tools.network_flags import add_network_flags, load_predictor

_EXAMPLE = """\
examples:
  python -m tools.demo --run_name first --input street.jpg --output found
      found/street.png with boxes and translucent classes, found/street-classes.png with class
      ids in VOC's palette, found/street.json
  python -m tools.demo --saved_model exported/first --input holiday/ --output found
      the same for every picture in the folder, and found/contact-sheet.png
  python -m tools.demo --run_name first --input ride.mp4 --output found
      found/ride.mp4, and found/ride.jsonl with a line of JSON for each frame
  python -m tools.demo --run_name first --input camera:0 --output found --limit 300

Pictures are JPEG, PNG, GIF, BMP, TIFF, WebP or PPM, turned upright. The video that comes out is
MPEG-4, which players show and most browsers do not: for these,
ffmpeg -i ride.mp4 -c:v libx264 ride-h264.mp4. The exit code is 1 when anything could not be read.
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo",
        description="Find objects and classes of pixels in pictures, a video or a camera's frames, "
        "and draw them. No ground truth is needed.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--input", required=True, metavar="WHAT", help="a picture, folder, video, or camera:N")
    add("--output", required=True, metavar="DIR", help="a folder for what is made")
    add("--overwrite", action="store_true", help="replace files of an earlier run in DIR")
    add_network_flags(parser)
    share, number = number_in(0, 1), number_in(1, kind=int)
    add = parser.add_argument_group("what is shown").add_argument
    add(
        "--min_score",
        type=share,
        default=0.3,
        metavar="T",
        help="leave out detections below this score (default: %(default)s)",
    )
    add(
        "--opacity",
        type=share,
        default=0.5,
        metavar="A",
        help="of the class colours, 0 to 1 (default: %(default)s)",
    )
    add("--limit", type=number, metavar="N", help="stop after N pictures or frames")
    add(
        "--batch_size",
        type=number,
        default=8,
        metavar="N",
        help="pictures at a time (default: %(default)s)",
    )
    return parser


def main(argv=None):
    """Run the tool; the exit code: 0, 1 if anything failed, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Its own lines about a file that is no video would bury the one that says so.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import tensorflow as tf

    try:
        demo(args)
    except tf.errors.OpError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; what was made so far stays", file=sys.stderr)
        return 130
    return 0


def demo(args):
    """From parsed flags to drawn files; raises OSError or ValueError if anything failed."""
    import numpy as np

    from blitznet.picture_files import is_picture
    from tools import demo_pictures, demo_video

    camera = re.fullmatch(r"camera:(\d+)", args.input)
    path = Path(args.input)
    if camera:
        work = demo_video.VideoWork(args, int(camera.group(1)))
    elif not path.exists():
        raise FileNotFoundError(f"no picture, folder or video {path}; a camera is camera:0")
    elif path.is_dir() or is_picture(path):
        work = demo_pictures.PictureWork(args)
    else:
        work = demo_video.VideoWork(args, path)
    # The network takes seconds to load: what the flags ask for is checked before.
    predictor = load_predictor(args)
    # The first picture compiles the network: one of no account, so that the speed told is true.
    predictor.predict(np.zeros((1, 1, 3), np.uint8))
    work.run(predictor)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
