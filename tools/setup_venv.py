"""Makes the virtual environment and installs the project in it, editable, for development.

It runs on a bare `python3`: the standard library alone, no root. Two things that a fresh Debian
lacks are worked round: `ensurepip` (its package python3-venv) and the shared libraries that
opencv-python loads.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Stack(NamedTuple):
    """One of the two environments: its extras and newest Python, its TensorFlow, its command."""

    extras: str
    newest: tuple
    tensorflow: str
    command: str


# TensorFlow 2.15 and 2.20 have wheels for Python 3.9, 2.21 for 3.10 to 3.13.
OLDEST = (3, 9)
EXTRAS = "dev,plot,serve,web,tflite,onnx,openvino"
CURRENT = Stack(EXTRAS, (3, 13), "the current TensorFlow", "make setup PYTHON")
ADDONS = Stack(
    f"addons,{EXTRAS}",
    (3, 11),
    "TensorFlow 2.15 with tensorflow-addons",
    "make setup-addons PYTHON_ADDONS",
)

CHECKOUT = Path(__file__).resolve().parent.parent
OPENCV_APT_PACKAGES = "libgl1 libglib2.0-0 libxcb1"


def main(arguments=None):
    """Set up the environment; exit non-zero with one sentence when a step cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=".venv", help="the environment's folder")
    parser.add_argument(
        "--addons", action="store_true", help="TensorFlow 2.15 with tensorflow-addons"
    )
    args = parser.parse_args(arguments)
    folder = Path(args.folder).absolute()
    stack = ADDONS if args.addons else CURRENT
    if not supported(sys.version_info[:2], stack):
        other = find_python(stack)
        say(f"{sys.executable} is unsupported, taking {other}")
        os.execv(other, [other, __file__, str(folder), *["--addons"] * args.addons])
    try:
        python = folder / "bin" / "python"
        if not usable(python, stack):
            create(folder)
        pip(python, "install", "--quiet", "--upgrade", "pip")
        pip(python, "install", "--editable", f"{CHECKOUT}[{stack.extras}]")
        repair_opencv(python)
    except subprocess.CalledProcessError as error:
        command = " ".join(str(word) for word in error.cmd)
        sys.exit(f"setup_venv: this command failed, its message is above: {command}")


def supported(version, stack):
    """Whether a `Stack` can be installed for this Python, `(major, minor)`."""
    return OLDEST <= tuple(version) <= stack.newest


def find_python(stack):
    """Path of the newest Python on PATH for a `Stack`; exits with one sentence without one."""
    for minor in range(stack.newest[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return found
    running = ".".join(map(str, sys.version_info[:2]))
    sys.exit(
        f"setup_venv: {stack.tensorflow} needs Python 3.{OLDEST[1]} to 3.{stack.newest[1]}, but "
        f"{sys.executable} is Python {running} and no other is on PATH: install one and run "
        f"`{stack.command}=/path/to/python3.{stack.newest[1]}`"
    )


def usable(python, stack):
    """Whether this is the interpreter of a working environment: fit for the `Stack`, with pip."""
    if not python.exists():
        return False
    result = attempt(python, "-c", "import pip, sys; print(*sys.version_info[:2])")
    return result.returncode == 0 and supported(map(int, result.stdout.split()), stack)


def create(folder):
    """Make an empty environment with pip in it, whether or not this Python has ensurepip."""
    venv = [sys.executable, "-m", "venv", "--clear", str(folder)]
    if importlib.util.find_spec("ensurepip"):
        subprocess.run(venv, check=True)
        return
    say(f"{sys.executable} has no ensurepip, bringing pip from elsewhere")
    subprocess.run([*venv, "--without-pip"], check=True)
    inside = str(folder / "bin" / "python")
    if attempt(sys.executable, "-m", "pip", "--python", inside, "install", "pip").returncode == 0:
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch_pip_wheel(Path(scratch))
        # A wheel is a zip file, which Python can run from the inside.
        install = [inside, str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(install, check=True)


def fetch_pip_wheel(scratch):
    """Path of pip's wheel out of Debian's package python3-pip-whl, fetched without root.

    apt-get checks its signature; its lists and caches go below `scratch`, since those of the
    system may be empty and only root can fill them. Exits with the remedy when that fails.
    """
    remedy = (
        "as root run `apt-get install python3-venv`, or choose another Python with PYTHON=... "
        "(for the addons PYTHON_ADDONS=...)"
    )
    if not shutil.which("apt-get"):
        sys.exit(f"setup_venv: {sys.executable} has neither ensurepip nor pip: {remedy}")
    lists, cache = scratch / "lists", scratch / "cache"
    for folder in (lists, cache):
        (folder / "partial").mkdir(parents=True)
    # For root, apt-get would drop to a user who cannot write in scratch.
    options = [f"Dir::State::Lists={lists}", f"Dir::Cache={cache}", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    for command in ([*apt, "update"], [*apt, "download", "python3-pip-whl"]):
        if subprocess.run(command, cwd=scratch).returncode != 0:
            sys.exit(f"setup_venv: `{' '.join(command)}` failed: {remedy}")
    (package,) = scratch.glob("python3-pip-whl_*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(scratch / "root")], check=True)
    (wheel,) = (scratch / "root").glob("usr/share/python-wheels/pip-*.whl")
    return wheel


def repair_opencv(python):
    """Exchange opencv-python for its headless twin where a shared library is missing.

    Exits with the import's own message when `import cv2` fails for any other reason.
    """
    result = attempt(python, "-c", "import cv2")
    if result.returncode == 0:
        return
    if not misses_shared_library(result.stderr):
        sys.exit(f"setup_venv: `import cv2` fails in {python}:\n{result.stderr}")
    reason = result.stderr.strip().splitlines()[-1]
    show = "import importlib.metadata as m; print(m.version('opencv-python'))"
    version = subprocess.check_output([str(python), "-c", show], text=True).strip()
    headless = f"opencv-python-headless=={version}"
    pip(python, "uninstall", "--quiet", "--yes", "opencv-python")
    # Both packages own the folder cv2: a headless one installed earlier has just lost its files.
    pip(python, "install", "--quiet", "--no-deps", "--force-reinstall", headless)
    subprocess.run([str(python), "-c", "import cv2"], check=True)
    say(
        f"opencv-python cannot be imported here ({reason}), so {headless} took its place; "
        f"`apt-get install {OPENCV_APT_PACKAGES}` as root would make opencv-python work."
    )


def misses_shared_library(message):
    """Whether an import error speaks of the loader not finding a library such as libGL.so.1."""
    return "cannot open shared object file" in message


def pip(python, *arguments):
    """Run the environment's pip; raises `subprocess.CalledProcessError` when it fails."""
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    subprocess.run([str(python), "-m", "pip", *arguments], check=True, env=environment)


def attempt(python, *arguments):
    """Run an interpreter and return the finished process, its output captured as text."""
    return subprocess.run([str(python), *arguments], capture_output=True, text=True)


def say(sentence):
    """Print at once, so that the order of our lines and those of pip holds in a log."""
    print(f"setup_venv: {sentence}", flush=True)


if __name__ == "__main__":
    main()
