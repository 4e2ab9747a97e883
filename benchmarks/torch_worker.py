"""A process that trains the same network with PyTorch, channels last, when it is told to; for levers.py.

It runs in a Python that has PyTorch, and imports nothing of TensorFlow.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import turns  # noqa: E402

BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def network(torch):
    """MobileNet with alpha 1, average pooling, dropout and ten shares."""
    nn = torch.nn

    def normal(channels):
        return [nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU6(inplace=True)]

    layers = [nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), *normal(32)]
    before = 32
    for channels, stride in BLOCKS:
        layers += [nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before, bias=False), *normal(before),
                   nn.Conv2d(before, channels, 1, bias=False), *normal(channels)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.75), nn.Linear(before, 10),
                         nn.Softmax(dim=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--image_size', type=int, default=224)
    parser.add_argument('--batchsize', type=int, default=32)
    flags = parser.parse_args()
    answers = turns.Answers()
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = network(torch).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
    images = torch.rand(flags.batchsize, 3, flags.image_size, flags.image_size) * 2 - 1
    images = images.to(memory_format=torch.channels_last)
    true = torch.softmax(torch.rand(flags.batchsize, 10), dim=1).cumsum(dim=1)

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (true - model(images).cumsum(dim=1)).square().mean(dim=1).sqrt().mean()
            loss.backward()
            optimizer.step()

    answers.serve(train)


if __name__ == '__main__':
    main()
