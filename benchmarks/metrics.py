"""How fast HPSv2 scores pictures here, against the published routine, which reads its checkpoint at every call.

    python benchmarks/metrics.py --size tiny --pictures 32
    python benchmarks/metrics.py --size full --pictures 4       # writes a random checkpoint of 3.9 GB, 12 GB of memory

Both score the same picture files with the same random weights, so their scores must agree. The published routine is
``hpsv2.score(picture, prompt, cp=CHECKPOINT)`` of hpsv2 1.2.0, called once for each picture as its README shows; it is
installed without its dependencies into a temporary folder, and gets the vocabulary file that its wheel lacks. Building
its model before the first call, for which it would download another checkpoint, is left out of its time. Ours is loaded
once (reported apart) and scores all pictures in batches. CPU time is the fairer ratio on a busy machine; it leaves out
waiting for the disk. ``gap`` is the largest difference of two scores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from npnet.metrics import HPSv2

TINY = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
FILE = "HPS_v2.1_compressed.pt"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
PROMPT = "a red fox in the snow, oil on canvas, number {}"
PUBLISHED = """
import json, sys, time, types
clint = types.ModuleType("clint.textui")  # only its download bar would need it
clint.progress = None
sys.modules["clint"], sys.modules["clint.textui"] = clint, clint
sys.path.insert(0, sys.argv[1])
import torch
request = json.load(open(sys.argv[2]))
torch.set_num_threads(request["threads"])
from hpsv2 import img_score
from hpsv2.src.open_clip import add_model_config, create_model_and_transforms
add_model_config(request["configs"])
img_score.device = request["device"]
model, _, preprocess = create_model_and_transforms(
    request["model"], None, precision="amp", device=request["device"], light_augmentation=True, output_dict=True,
    with_score_predictor=False, with_region_predictor=False,
)
img_score.model_dict.update(model=model, preprocess_val=preprocess)
seconds, busy, scores = [], [], []
for path, prompt in zip(request["pictures"], request["prompts"]):
    started, worked = time.perf_counter(), time.process_time()
    scores.append(float(img_score.score(path, prompt, cp=request["checkpoint"])[0]))
    seconds.append(time.perf_counter() - started)
    busy.append(time.process_time() - worked)
print(json.dumps({"seconds": seconds, "busy": busy, "scores": scores}))
"""


def main() -> None:
    """Run the comparison and print one table row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=512, help="side of the pictures")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        config = TINY if options.size == "tiny" else open_clip.get_model_config("ViT-H-14")
        folder = write_checkpoint(place / "model", config, options.size == "tiny")
        files, prompts = write_pictures(place / "pictures", options.pictures, options.pixels)
        load_seconds, seconds, busy, ours = run_ours(folder, files, prompts, options)
        rate = options.pictures / seconds
        print(f"ours, {options.size}: loaded in {load_seconds:.2f} s, then {rate:.3g} pictures/s", flush=True)
        found = run_published(place, folder, config, files, prompts, options)
    # the median call, so that the first one's warming up does not count
    their_rate = 1 / statistics.median(found["seconds"])
    busy_ratio = statistics.median(found["busy"]) / (busy / options.pictures)
    print(f"published, {options.size}: {their_rate:.3g} pictures/s")
    gap = float(np.abs(np.array(ours) - np.array(found["scores"])).max())
    names = ("weights", "pictures", "ours, pictures/s", "published, pictures/s", "ratio", "ratio of CPU time", "gap")
    values = (rate, their_rate, rate / their_rate, busy_ratio)
    row = [options.size, str(options.pictures), *(f"{value:.3g}" for value in values), f"{gap:.1e}"]
    for cells in (names, ["---"] * len(names), row):
        print(f"| {' | '.join(cells)} |")


def write_checkpoint(folder: Path, config: dict, state_architecture: bool) -> Path:
    """Write random weights in the published layout; returns what ``HPSv2(path=...)`` takes."""
    folder.mkdir()
    torch.manual_seed(0)
    torch.save({"state_dict": open_clip.CLIP(**config).state_dict()}, folder / FILE)
    if state_architecture:
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return folder


def write_pictures(folder: Path, count: int, side: int) -> tuple[list[Path], list[str]]:
    """Write smooth random pictures and make a prompt for each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{number:04d}.png" for number in range(count)]
    for path in files:
        rough = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        rough.resize((side, side), Image.Resampling.BICUBIC).save(path)
    return files, [PROMPT.format(number) for number in range(count)]


def run_ours(folder: Path, files: list[Path], prompts: list[str], options: argparse.Namespace) -> tuple:
    """Return seconds of loading; seconds and CPU seconds of scoring all files, opening them included; the scores."""
    started = time.perf_counter()
    metric = HPSv2("v2.1", str(folder)).load(options.device)
    load_seconds = time.perf_counter() - started
    scores: list[float] = []
    started, worked = time.perf_counter(), time.process_time()
    for start in range(0, len(files), options.batch_size):
        part = slice(start, start + options.batch_size)
        scores += metric.score_pil([Image.open(path) for path in files[part]], prompts[part]).tolist()
    return load_seconds, time.perf_counter() - started, time.process_time() - worked, scores


def run_published(
    place: Path, folder: Path, config: dict, files: list[Path], prompts: list[str], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the seconds, CPU seconds and score of each call, computed in a process of its own."""
    package, configs = place / "package", place / "configs"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(package), "hpsv2==1.2.0"]
    subprocess.run(install, check=True)
    vocabulary = Path(open_clip.__file__).parent / VOCABULARY
    shutil.copy(vocabulary, package / "hpsv2" / "src" / "open_clip" / VOCABULARY)
    configs.mkdir()
    (configs / "random-h.json").write_text(json.dumps(config))
    request = {
        "threads": options.threads,
        "device": options.device,
        "configs": str(configs),
        "model": "random-h",
        "pictures": [str(path) for path in files],
        "prompts": prompts,
        "checkpoint": str(folder / FILE),
    }
    (place / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-W", "ignore", "-c", PUBLISHED, str(package), str(place / "request.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
