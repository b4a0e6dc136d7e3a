"""DetNet-59 (Z. Li et al., arXiv 1804.06215, section 3): a trunk made for detection.

To stride 16 it is ResNet-50. Two stages more stay at that stride: their dilated convolutions see
as far as strided ones would, while large objects keep their borders and small ones stay visible.
"""

from functools import partial

from blitznet.trunks.resnet import bottleneck_blocks, residual_features, residual_trunk

_DILATION = 2


def _features(images, conv, root, blocks, dilated, project):
    """ResNet's maps, the last one that of the dilated blocks behind them.

    Args:
      blocks: for `residual_features`; the dilated ones are made of the last one's units.
      dilated: number of units of each dilated block.
      project: whether a dilated block's first unit has a 1x1 convolution on its shortcut: the
        paper's B, then A, A; without, A alone.
    """
    features = residual_features(images, conv, root, blocks)
    last, x = list(features.items())[-1]
    unit, _ = blocks[-1]
    for block, count in enumerate(dilated, start=len(blocks) + 1):
        for i in range(1, count + 1):
            name = f"block{block}_unit{i}"
            x = unit(x, conv, 1, name, dilation=_DILATION, project=project and i == 1)
    return {**features, last: x}


def detnet_trunk(root, units=(3, 4, 6), dilated=(3, 3)):
    """A DetNet whose root has `root` channels, and all others in proportion.

    `units` are the numbers of units of the stages that halve their maps, `dilated` those of the
    stages behind, as deep as the last of them.
    """
    blocks = bottleneck_blocks(root, units)
    features = partial(_features, root=root, blocks=blocks, dilated=dilated)
    unit, last_block = blocks[-1][0], len(units) + len(dilated)
    unprojected = residual_trunk(partial(features, project=False), unit, last_block)
    return residual_trunk(partial(features, project=True), unit, last_block, unprojected)


DETNET59 = detnet_trunk(64)
