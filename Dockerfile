# docker build -t npnet .
# docker run --gpus all -v $PWD/outputs:/npnet/outputs -v ~/.cache:/root/.cache npnet npnet info
FROM python:3.11-slim

RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /npnet
COPY pyproject.toml npnet_lightning.py README.md CHANGELOG.md LICENSE CITATION.cff ./
COPY npnet npnet
COPY collect collect
COPY conf conf
RUN pip install --no-cache-dir .
COPY collect.py train.py evaluate.py ./

# results, and downloaded models: mount both to keep them
VOLUME ["/npnet/outputs", "/root/.cache"]
CMD ["npnet"]
