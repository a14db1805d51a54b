"""Train a network on collected pairs: ``python train.py data.shards=DIR``."""

from npnet.cli import train

if __name__ == "__main__":
    train()
