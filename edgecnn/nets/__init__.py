"""Networks by name: our own, torchvision's, the user's, and those that files describe."""

from __future__ import annotations

from edgecnn.tables import Table

#: `edgecnn:NAME` → a factory `(classes: int, channels: int) -> torch.nn.Module`.
NETS = Table(
    "network",
    {
        "alexnet": "edgecnn.nets.alexnet:alexnet",
        "autoencoder-fraud": "edgecnn.nets.autoencoder:autoencoder_fraud",
        "autoencoder-mnist": "edgecnn.nets.autoencoder:autoencoder_mnist",
        "digits-cnn": "edgecnn.nets.digits_cnn:digits_cnn",
        "resnet20": "edgecnn.nets.resnet:resnet20",
        "resnet32": "edgecnn.nets.resnet:resnet32",
        "resnet44": "edgecnn.nets.resnet:resnet44",
        "resnet56": "edgecnn.nets.resnet:resnet56",
        "resnet110": "edgecnn.nets.resnet:resnet110",
        **{f"resnet101-v{number}": f"edgecnn.nets.variants:resnet101_v{number}" for number in range(1, 16)},
        "vgg16": "edgecnn.nets.vgg:vgg16",
        "vgg16-compact": "edgecnn.nets.vgg:vgg16_compact",
        **{f"vgg19-v{number}": f"edgecnn.nets.variants:vgg19_v{number}" for number in range(1, 14)},
    },
)
