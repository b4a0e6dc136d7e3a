"""The one place that imports OpenCV: `from blitznet.opencv import cv2`.

opencv-python links to system libraries that a bare server lacks; the import error then
names what to install.
"""

_HEADLESS = "pip uninstall -y opencv-python && pip install opencv-python-headless"

try:
    import cv2
except ModuleNotFoundError as error:
    raise ImportError(
        f"OpenCV is missing ({error}). Run: pip install opencv-python\n"
        "or, on a server without a display: pip install opencv-python-headless"
    ) from error
except ImportError as error:
    raise ImportError(
        f"OpenCV is installed but does not load ({error}).\n"
        "opencv-python needs libGL, GLib and libxcb. On Debian or Ubuntu run\n"
        "    apt-get install libgl1 libglib2.0-0 libxcb1\n"
        "or replace it by the build that needs none of them:\n"
        f"    {_HEADLESS}"
    ) from error

__all__ = ["cv2"]
