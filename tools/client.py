"""Ask a server of an exported model about pictures: `python -m tools.client --help`.

`Client` is a library too. It speaks TensorFlow Serving's REST protocol, to TensorFlow Serving as
to `tools.serve`.
"""

import argparse
import base64
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

from blitznet.picture_files import PictureError, read_picture
from blitznet.prediction import Prediction
from blitznet.visualize import palette_png

_MOST_CLASSES = 255


class ServerError(RuntimeError):
    """The server did not answer what was asked; the message is its own, or says what is wrong."""


class Client:
    """A served model.

    Attributes:
      url: of the model.
      class_names: names of the classes 1..C-1.
    """

    def __init__(self, url, class_names=None, timeout=60, retries=5):
        """
        Args:
          url: `http://HOST:PORT/v1/models/NAME`, with `/versions/N` for one version.
          class_names: names of the classes 1..C-1, as REST does not tell them; `class 1` and so
            on without.
          timeout: seconds for an answer.
          retries: how often a request is sent again to a server that is busy (503) or is being
            started, with growing pauses.
        """
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self.url, self._timeout = url.rstrip("/"), timeout
        self.class_names = tuple(class_names or (f"class {c}" for c in range(1, _MOST_CLASSES + 1)))
        self._session = requests.Session()
        # Asking twice does no harm, so that a POST may be sent again.
        retry = Retry(
            retries,
            read=0,
            backoff_factor=0.25,
            status_forcelist=[503],
            allowed_methods=None,
            raise_on_status=False,
        )
        self._session.mount("http://", HTTPAdapter(max_retries=retry))
        self._session.mount("https://", HTTPAdapter(max_retries=retry))

    def status(self):
        """The versions and their states, as the server tells them. Raises ServerError."""
        return self._ask("GET", self.url)["model_version_status"]

    def predict(self, images):
        """A list of `blitznet.prediction.Prediction`, one for each of `images`, in one request.

        Args:
          images: uint8 RGB arrays `[H, W, 3]`, of any sizes, taken as they are.

        Raises:
          ServerError: the server cannot be reached, or refuses; says why.
        """
        rows = self.predict_files([encoded(image) for image in images])
        return [self._prediction(row, *image.shape[:2]) for row, image in zip(rows, images)]

    def predict_files(self, files):
        """The server's own answer, a dict of lists, for each of `files` (bytes) as they are.

        Raises ServerError.
        """
        instances = [{"image_bytes": {"b64": base64.b64encode(f).decode()}} for f in files]
        answer = self._ask("POST", f"{self.url}:predict", json={"instances": instances})
        rows = answer.get("predictions", ())
        # An only output comes without its name: the class maps of a network that segments alone.
        rows = [{"semantic_classes": row} if _is_map(row) else row for row in rows]
        if len(rows) != len(files) or not all(_is_answer(row) for row in rows):
            raise ServerError(
                f"{self.url} does not answer as an export of BlitzNet does (and one of "
                "--postprocess none tells no detections)"
            )
        return rows

    def _prediction(self, row, height, width):
        """`Prediction` of a picture of `height` and `width` from the server's answer."""
        count = row.get("num_detections", 0)
        classes = np.array(row.get("detection_classes", [])[:count], np.int32)
        class_map = _class_map(row, height, width)
        largest = max(classes.max(initial=0), 0 if class_map is None else class_map.max())
        if largest > len(self.class_names):
            raise ServerError(
                f"{self.url} answers with class {largest}, but there are names of "
                f"{len(self.class_names)}: are these the labels of another model?"
            )
        return Prediction(
            boxes=np.array(row.get("detection_boxes", [])[:count], np.float32).reshape(-1, 4),
            scores=np.array(row.get("detection_scores", [])[:count], np.float32),
            classes=classes,
            names=tuple(self.class_names[c - 1] for c in classes),
            class_map=class_map,
            height=height,
            width=width,
            class_names=self.class_names,
        )

    def _ask(self, method, url, **arguments):
        """The JSON that a server answers."""
        import requests

        try:
            response = self._session.request(method, url, timeout=self._timeout, **arguments)
        except requests.RequestException as error:
            kind = type(error).__name__
            raise ServerError(
                f"no answer from {url} ({kind}): does a server run there, and is it idle enough?"
            ) from error
        try:
            answer = response.json()
        except ValueError:
            answer = {"error": f"no JSON, but {response.text[:200]!r}"}
        if response.ok and isinstance(answer, dict) and "error" not in answer:
            return answer
        why = answer["error"] if isinstance(answer, dict) and "error" in answer else answer
        raise ServerError(f"{url} answers {response.status_code}: {why}")


def _is_map(row):
    return isinstance(row, list) and bool(row) and isinstance(row[0], list)


def _is_answer(row):
    return isinstance(row, dict) and bool(row.keys() & {"num_detections", "semantic_classes"})


def _class_map(row, height, width):
    """The class map of an answer, uint8 `[height, width]`, or None without one."""
    if "semantic_classes" not in row:
        return None
    from blitznet.postprocess.tiles import answered_class_map

    return answered_class_map(row, height, width)


def encoded(image):
    """PNG file, as bytes, of a uint8 RGB picture: every pixel arrives as it is."""
    file = io.BytesIO()
    # Level 1: little larger than the default, and several times as fast.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.client",
        description="Send pictures to a served model, print what it detects, and draw it. "
        "Pictures are turned upright first.",
        epilog="example: python -m tools.client http://127.0.0.1:8501/v1/models/first a.jpg b.png "
        "--labels exported/first/1000/assets/labels.txt --output found",
    )
    parser.add_argument("url", help="http://HOST:PORT/v1/models/NAME[/versions/N]")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of the classes: the export's labels.txt"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="gets NAME.png, drawn, NAME.json and NAME-classes.png",
    )
    help = "detections of a lower score are left out (default: %(default)s)"
    parser.add_argument("--min_score", type=float, default=0.3, metavar="X", help=help)
    help = "seconds for an answer (default: %(default)s)"
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help=help)
    return parser


def main(argv=None):
    """Ask about each picture; the exit code, 1 where any could not be answered."""
    args = build_parser().parse_args(argv)
    try:
        client = Client(args.url, _class_names(args.labels), args.timeout)
        outputs = _outputs(args.pictures, args.output)
    except ModuleNotFoundError as error:
        print(f"error: {error}; run: pip install -e .[serve]", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    code = 0
    for path in args.pictures:
        try:
            picture = read_picture(path)
            prediction = client.predict([picture])[0].at_least(args.min_score)
            print(f"{path}: {table(prediction)}")
            if args.output:
                write(prediction, picture, args.min_score, outputs[path])
        except (OSError, PictureError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
        except ServerError as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            code = 1
    return code


def _class_names(labels):
    """Names of the classes 1..C-1 from an export's labels.txt, None without the file's path."""
    if labels is None:
        return None
    names = labels.read_text(encoding="utf-8").splitlines()
    if len(names) < 2 or names[0] != "background":
        raise ValueError(f"{labels} is no labels.txt: expected background, then a class a line")
    return names[1:]


def _outputs(pictures, folder):
    """Where the results of each picture go, without the ending; None without a folder.

    Raises ValueError where two pictures would share a file, such as a.png's and a-classes.png's.
    """
    if folder is None:
        return dict.fromkeys(pictures)
    folder.mkdir(parents=True, exist_ok=True)
    names = [path.stem + end for path in set(pictures) for end in ("", "-classes")]
    if len(set(names)) < len(names):
        raise ValueError("two pictures have the same name: send them in two commands")
    return {path: folder / path.stem for path in pictures}


def table(prediction):
    """Text: the detections of a `Prediction`, in pixels; without any, the shares of classes."""
    found = prediction.to_dict()["detections"]
    if not found:
        shares = prediction.class_shares() or {}
        pixels = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        return "no boxes" + (f"; of the pixels {pixels}" if pixels else "")
    rows = [(each["name"], each["score"], *map(round, each["pixels"])) for each in found]
    headers = ("class", "score", "left", "top", "right", "bottom")
    return f"{len(found)} found\n" + tabulate(rows, headers, floatfmt=".2f")


def write(prediction, picture, min_score, target):
    """Write `target`.png, drawn, `target`.json and, of a class map, `target`-classes.png.

    Files are replaced only by complete ones.
    """
    text = json.dumps(prediction.to_dict(), indent=1) + "\n"
    files = {".png": encoded(prediction.draw(picture, min_score)), ".json": text.encode()}
    if prediction.class_map is not None:
        files["-classes.png"] = palette_png(prediction.class_map)
    for ending, content in files.items():
        path = target.with_name(target.name + ending)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(content)
        os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main())
