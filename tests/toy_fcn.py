"""FCNs of few channels, which a test can put in the place of the real ones."""

from blitznet import trunks
from blitznet.trunks.alexnet import alexnet_trunk
from blitznet.trunks.vgg import fcn_vgg_trunk

VGG = fcn_vgg_trunk(2)
ALEXNET = alexnet_trunk(2)


def install(monkeypatch):
    """Make `vgg16` and `alexnet` of FCNs the toys' names until the test ends."""
    monkeypatch.setitem(trunks.FCN_BUILDERS, "vgg16", f"{__name__}:VGG")
    monkeypatch.setitem(trunks.FCN_BUILDERS, "alexnet", f"{__name__}:ALEXNET")
