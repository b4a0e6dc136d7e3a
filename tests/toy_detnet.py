"""A DetNet of few channels and units, which a test can put in the place of the real one."""

from blitznet import trunks
from blitznet.trunks.detnet import detnet_trunk

# Two dilated stages of a unit B, and of A, A behind it in the first.
TOY = detnet_trunk(8, units=(1, 1, 2), dilated=(3, 1))


def install(monkeypatch):
    """Make `detnet59` the toy's name until the test ends."""
    monkeypatch.setitem(trunks.BUILDERS, "detnet59", f"{__name__}:TOY")
