# docker build -t npnet . && docker run --gpus all -v $PWD/outputs:/npnet/outputs npnet npnet info
FROM python:3.11-slim

RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /npnet
COPY pyproject.toml README.md CHANGELOG.md LICENSE CITATION.cff ./
COPY npnet npnet
COPY collect collect
COPY conf conf
RUN pip install --no-cache-dir .
COPY collect.py train.py evaluate.py ./

# nothing is written outside these two
VOLUME ["/npnet/outputs", "/root/.cache/huggingface"]
CMD ["npnet"]
