"""The web page in a picture, by headless Chromium: `python -m tools.web_screenshot --help`."""

import argparse
import contextlib
import io
import os
import shutil
import sys
from pathlib import Path

from tools.flags.fields import number_in

_SECONDS = 90  # until the page shows the picture
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


class MissingProgram(RuntimeError):
    """Chromium, or the package that drives it, is not installed."""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.web_screenshot",
        description="Give a picture to the page of tools.web_demo and photograph the page.",
        epilog="example: python -m tools.web_screenshot --picture street.jpg "
        "--output docs/web_demo.png, while tools.web_demo runs",
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:7860", help="of the page (default: %(default)s)"
    )
    parser.add_argument("--picture", required=True, type=Path, metavar="FILE", help="to upload")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="to write")
    pixels = number_in(100, 4000, kind=int)
    parser.add_argument(
        "--size",
        nargs=2,
        type=pixels,
        default=(1280, 860),
        metavar=("W", "H"),
        help="of the window, in pixels (default: 1280 860)",
    )
    return parser


def main(argv=None):
    """Take the picture; the exit code, 1 for an error."""
    args = build_parser().parse_args(argv)
    try:
        photograph(args)
    except (OSError, MissingProgram) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(args.output)
    return 0


def photograph(args):
    """From parsed flags to a PNG file.

    Raises:
      MissingProgram: says what to install.
      OSError: no picture, no page there, or the page did not answer.
    """
    from PIL import Image

    if not args.picture.is_file():
        raise FileNotFoundError(f"no picture {args.picture}")
    with chromium() as browser:
        from playwright.sync_api import Error

        width, height = args.size
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(1e3 * _SECONDS)
        try:
            page.goto(args.url)
            page.locator("#upload input[type=file]").set_input_files(args.picture)
            page.locator("#drawn img").wait_for()
            page.wait_for_function("[...document.images].every(image => image.complete)")
            taken = page.screenshot(animations="disabled")
        except Error as error:
            raise OSError(f"{args.url}: {error.message.splitlines()[0]}") from None
    args.output.parent.mkdir(parents=True, exist_ok=True)
    partial = args.output.with_name(f".partial-{args.output.name}")
    Image.open(io.BytesIO(taken)).convert("RGB").save(partial, "PNG", optimize=True)
    partial.replace(args.output)


@contextlib.contextmanager
def chromium():
    """A headless Chromium of this machine, as Playwright's `Browser`.

    Raises MissingProgram, which says what to install.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise MissingProgram(f"{error}; run: pip install -e .[dev]") from None
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise MissingProgram(f"no {' or '.join(_PROGRAMS)}; run: apt-get install chromium")
    # As root, in a container say, Chromium starts without its sandbox only.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()


if __name__ == "__main__":
    sys.exit(main())
