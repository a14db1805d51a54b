"""HPSv2 equals the ``hpsv2`` package's own routine: its model, its preprocessing, its tokenizer, its score."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from npnet.metrics import HPSv2
from tests.metrics import tiny

PROMPTS = ["a red cube", "", "Ein Fuß & <b>größer</b> 🙂 than  two", "many words " * 200, "A Photo Of THE sea."]
SIZES = [(224, 224), (640, 360), (123, 457), (512, 512), (40, 61)]
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
THEIRS = """
import json, sys, types
clint = types.ModuleType("clint.textui")  # only its download bar would need it
clint.progress = None
sys.modules["clint"], sys.modules["clint.textui"] = clint, clint
sys.path.insert(0, sys.argv[1])
import torch
from hpsv2 import img_score
from hpsv2.src.open_clip import add_model_config, create_model_and_transforms
from PIL import Image

request = json.load(open(sys.argv[2]))
add_model_config(request["configs"])
img_score.device = "cpu"
model, _, preprocess = create_model_and_transforms(
    "tiny-h", None, precision="amp", device="cpu", light_augmentation=True, output_dict=True,
    with_score_predictor=False, with_region_predictor=False,
)
img_score.model_dict.update(model=model, preprocess_val=preprocess)
pairs = zip(request["pictures"], request["prompts"], strict=True)
scores = [
    [float(img_score.score(Image.open(p), text, cp=cp)[0]) for p, text in zip(request["pictures"], request["prompts"])]
    for cp in request["checkpoints"]
]
print(json.dumps(scores))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    target = tmp_path_factory.mktemp("package")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), "hpsv2==1.2.0"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"hpsv2 1.2.0 cannot be installed here: {done.stderr.strip()[-200:]}")
    # the file that the published wheel lacks
    shutil.copy(Path(open_clip.__file__).parent / VOCABULARY, target / "hpsv2" / "src" / "open_clip" / VOCABULARY)
    return target


@pytest.mark.slow
def test_scores_are_those_of_the_package(package, tmp_path):
    # its preprocessing reads the size from the configuration's model, so the tiny one has the published size
    config = {**tiny.OPEN_CLIP, "vision_cfg": {**tiny.OPEN_CLIP["vision_cfg"], "image_size": 224, "patch_size": 32}}
    folder, configs = tmp_path / "hpsv2", tmp_path / "configs"
    tiny.mark(folder)
    configs.mkdir()
    (configs / "tiny-h.json").write_text(json.dumps(config))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    names = ("HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt")
    for seed, name in enumerate(names):
        torch.save({"state_dict": tiny.spread(open_clip.CLIP(**config).state_dict(), seed)}, folder / name)
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(len(SIZES))]
    for path, size in zip(files, SIZES, strict=True):
        rough = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        rough.resize(size, Image.BICUBIC).save(path)
    request = {
        "configs": str(configs),
        "pictures": [str(path) for path in files],
        "prompts": PROMPTS,
        "checkpoints": [str(folder / name) for name in names],
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THEIRS, str(package), str(tmp_path / "request.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    pictures = [Image.open(path) for path in files]
    ours = torch.stack(
        [HPSv2(version, str(folder)).load().score_pil(pictures, PROMPTS) for version in ("v2.0", "v2.1")]
    )
    assert len(set(theirs.flatten().tolist())) == theirs.numel()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    print(f"largest difference {float((ours - theirs).abs().max()):.1e}")
