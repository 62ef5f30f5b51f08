"""EfficientNet-Lite0: a small network for photographs, with timm's names (``tf_efficientnet_lite0``).

EfficientNet (Tan and Le, 2019) repeats one block. A 1 × 1 convolution widens the image's features, a depthwise one
looks at each feature's neighbourhood, and another 1 × 1 convolution narrows the result. Google's Lite variant leaves
out what small devices lack: squeeze-and-excitation, and swish, whose place ReLU6 takes.

The weights were trained with TensorFlow, so this network follows it in three points: "same" padding, the constants of
batch normalisation, and pixels (x − 127) / 128.
"""

import math
from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (127.0,) * 3, (128.0,) * 3  # of the pixels that the weights were trained on, 0 to 255
FEATURES = 1280  # numbers that describe an image: the input of the last layer
# Of each stage: blocks, kernel, stride of the first block, how much a block widens its input, features
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: ⌈size / stride⌉ positions, whatever the size of the input.

    Where the padding is odd, the bottom and the right get the larger half. How much is needed depends on the input.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] to [n, features, ⌈h / stride⌉, ⌈w / stride⌉]."""
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            needed = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
            sides += [needed // 2, needed - needed // 2]  # left, right, then top, bottom
        return super().forward(F.pad(x, sides))


class Block(nn.Sequential):
    """Widen, look around, narrow; and add the input where it has the output's shape.

    widen: how many times more features there are in between; with 1 there is no first convolution
    """

    def __init__(self, inputs: int, features: int, kernel: int, stride: int, widen: int):
        wide = inputs * widen
        if widen == 1:  # timm's DepthwiseSeparableConv
            layers = OrderedDict(
                conv_dw=_conv(inputs, wide, kernel, stride, groups=wide), bn1=_batch_norm(wide), act1=nn.ReLU6(),
                conv_pw=_conv(wide, features), bn2=_batch_norm(features),
            )  # fmt: skip
        else:  # timm's InvertedResidual
            layers = OrderedDict(
                conv_pw=_conv(inputs, wide), bn1=_batch_norm(wide), act1=nn.ReLU6(),
                conv_dw=_conv(wide, wide, kernel, stride, groups=wide), bn2=_batch_norm(wide), act2=nn.ReLU6(),
                conv_pwl=_conv(wide, features), bn3=_batch_norm(features),
            )  # fmt: skip
        super().__init__(layers)
        self.shortcut = stride == 1 and inputs == features

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] to [n, features, ⌈h / stride⌉, ⌈w / stride⌉]."""
        y = super().forward(x)
        return x + y if self.shortcut else y


def efficientnet_lite0(classes: int) -> "OrderedDict[str, nn.Module]":
    """The layers after normalisation, by timm's names. They take [n, 3, h, w] and return logits [n, classes]."""
    stages, inputs = [], 32
    for count, kernel, stride, widen, features in STAGES:
        blocks = [Block(inputs, features, kernel, stride, widen)]
        blocks += [Block(features, features, kernel, 1, widen) for _ in range(count - 1)]
        stages.append(nn.Sequential(*blocks))
        inputs = features
    return OrderedDict(
        conv_stem=_conv(3, 32, 3, stride=2), bn1=_batch_norm(32), act1=nn.ReLU6(),  # [n, 32, h / 2, w / 2]
        blocks=nn.Sequential(*stages),  # [n, 320, h / 32, w / 32]
        conv_head=_conv(inputs, FEATURES), bn2=_batch_norm(FEATURES), act2=nn.ReLU6(),
        global_pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),  # [n, 1280]
        classifier=nn.Linear(FEATURES, classes),
    )  # fmt: skip


def _conv(inputs: int, features: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 1:  # "same" is symmetric here
        return nn.Conv2d(inputs, features, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv2d(inputs, features, kernel, stride, groups=groups, bias=False)


def _batch_norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=1e-3, momentum=0.01)
