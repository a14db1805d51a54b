"""Compare noise methods by metrics: ``python evaluate.py --help`` lists the keys."""

from npnet.cli import evaluate

if __name__ == "__main__":
    evaluate()
