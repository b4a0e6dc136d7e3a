"""A VGG-16 with an eighth of the channels, which a test can put in the place of the real one."""

from blitznet import trunks
from blitznet.trunks.vgg import vgg_trunk

TOY = vgg_trunk(8)


def install(monkeypatch):
    """Make `vgg16` the toy's name until the test ends."""
    monkeypatch.setitem(trunks.BUILDERS, "vgg16", f"{__name__}:TOY")
