"""Golden noise in a diffusers pipeline is the noise, and the picture, of our own sampler."""

from functools import cache

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, StableDiffusionXLPipeline
from peft import LoraConfig
from torch import Tensor, nn

from npnet import GoldenNoise, seeding
from npnet.errors import UserError
from npnet.metrics import ShapesScorer
from npnet.networks import NoiseNetwork
from npnet.paths import shapes_weights
from npnet.pipelines.families import as_argument, as_backbone, family_of, packed, unpacked
from npnet.pipelines.prompts import ENCODED
from tests import tiny

UNGUIDED = ("flux", "flux2", "sana")
"""Those whose pipelines take no negative prompt."""
SIZES = {"height": 64, "width": 96}
STEPS, GUIDANCE = 3, 2.0
CALL = {"guidance_scale": GUIDANCE, "num_inference_steps": STEPS, **SIZES}
ROW = torch.zeros(1, 77, 32)
KNOWN = ("height", "width", "num_frames", "max_sequence_length")


class Listening(NoiseNetwork):
    """Adds to each noise a number that every one of its embeddings decides."""

    def __init__(self, latent_channels: int = 4) -> None:
        super().__init__({})
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, noise, prompt_embeds=None, pooled_prompt_embeds=None, prompt_mask=None) -> Tensor:
        said = prompt_embeds.float()[..., :5].mean((1, 2))  # the mean of all is zero after a layer norm
        if pooled_prompt_embeds is not None:
            said = said + pooled_prompt_embeds.float().mean(1)
        if prompt_mask is not None:
            said = said + prompt_mask.float().mean(1)
        return (noise + self.gain * said.view(-1, *[1] * (noise.ndim - 1))).to(noise.dtype)


class ListeningInTime(Listening):
    """The same for videos."""

    spatial_axes = 3


def listening(name):
    return ListeningInTime() if name == "wan" else Listening()


@cache
def pipeline(name):
    return ready(tiny.PIPELINES[name](), name)


def ready(pipe, name):
    pipe.set_progress_bar_config(disable=True)
    if name == "hunyuan":  # its own scheduler draws noise at every step
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()  # as a pipeline that was loaded is
    return pipe


@cache
def shapes():
    return StableDiffusionXLPipeline.from_pretrained(shapes_weights() / "pipeline")


def arguments(name):
    found = {**SIZES, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "latent"}
    lengths = (
        {"max_sequence_length": tiny.T5_LENGTH}
        if name in ("sd3", "flux", "flux2", "z_image", "qwen_image", "wan")
        else {}
    )
    frames = {"num_frames": 9} if name == "wan" else {}
    binning = {"use_resolution_binning": False} if name in ("hunyuan", "sana") else {}
    guidance = {}
    if name == "qwen_image":  # its guidance_scale is of distilled models, which are not published
        guidance = {"guidance_scale": None, "true_cfg_scale": GUIDANCE, "negative_prompt": " "}
    if name == "z_image":  # its pipeline counts one less
        guidance = {"guidance_scale": GUIDANCE - 1}
    # more than one step draws noise
    single = {"num_inference_steps": 1, "intermediate_timesteps": None} if name == "sana" else {}
    return {**found, **lengths, **frames, **binning, **guidance, **single}


def guiding(name):
    return "true_cfg_scale" if name == "qwen_image" else "guidance_scale"


def sizes(name):
    return {k: v for k, v in arguments(name).items() if k in KNOWN}


def drawn(pipe, name, prompt, **more):
    given = {**arguments(name), "prompt": prompt, **more}
    # Z-Image's pipeline writes its template into lists
    result = pipe(**{key: list(value) if isinstance(value, list) else value for key, value in given.items()})
    return result[0] if isinstance(result[0], Tensor) else result.images


@pytest.fixture(params=tiny.PIPELINES)
def name(request):
    return request.param


@pytest.fixture
def attached(request):
    golden = GoldenNoise(
        listening(request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None)
    )
    yield golden
    golden.detach()


def test_called_and_attached_give_the_same_picture(name, attached):
    pipe, prompt = pipeline(name), "a red fox"
    called = drawn(pipe, name, prompt, latents=attached(pipe, prompt, seed=3, **sizes(name)))
    plain = drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3))
    attached.attach(pipe)
    assert torch.equal(drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3)), called)
    assert not torch.allclose(plain, called, atol=1e-3)
    attached.detach()
    assert torch.equal(drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3)), plain)


def test_the_noise_is_the_one_that_the_backbone_and_the_network_give(name):
    pipe, network = pipeline(name), listening(name)
    backbone = as_backbone(pipe, **sizes(name))
    prompts = ["a red fox", "two boats", "two boats"]
    conditioning = backbone.encode(prompts)
    noise = seeding.source_noises([7, 8, 9], backbone.latent_shape())
    given = conditioning.prompt_embeds, conditioning.pooled_prompt_embeds, conditioning.prompt_mask
    wanted = network(noise, *given)
    made = GoldenNoise(network)(pipe, prompts, seed=7, **sizes(name))
    assert torch.allclose(made, as_argument(pipe, wanted), atol=1e-6)


def test_the_picture_is_that_of_our_own_sampler(name, attached):
    pipe, prompt = pipeline(name), "a red fox"
    if name == "wan":  # its own UniPC is of the second order
        pipe = ready(tiny.wan_pipeline(), name)
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    backbone = as_backbone(pipe, **sizes(name))
    conditioning = backbone.encode([prompt])
    with torch.no_grad():
        noise = seeding.source_noises([3], backbone.latent_shape())
        better = attached.network(
            noise, conditioning.prompt_embeds, conditioning.pooled_prompt_embeds, conditioning.prompt_mask
        )
        ours = packed(pipe, backbone.sample(better, conditioning, arguments(name)["num_inference_steps"], GUIDANCE))
        if name == "flux2":  # it returns what the VAE takes
            ours = backbone.decoder.unscale(unpacked(pipe, ours, backbone.latent_shape()))
    attached.attach(pipe)
    assert torch.allclose(drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3)), ours, atol=2e-3)


def test_every_picture_of_a_list_is_the_one_it_is_alone(name, attached):
    pipe, prompts = pipeline(name), ["a red fox", "two boats"]
    # diffusers repeats these masks in another order than the embeddings
    copies = 1 if name in ("hunyuan", "sana") else 2
    count = {"num_videos_per_prompt" if name == "wan" else "num_images_per_prompt": copies}
    unwanted = {} if name in UNGUIDED else {"negative_prompt": ["blurred", "grey"]}
    generators = [torch.Generator().manual_seed(seed) for seed in range(2 * copies)]
    attached.attach(pipe)
    together = drawn(pipe, name, prompts, generator=generators, **unwanted, **count)
    unwanted = {} if name in UNGUIDED else {"negative_prompt": "grey"}
    alone = drawn(pipe, name, "two boats", generator=torch.Generator().manual_seed(copies), **unwanted)
    assert torch.allclose(together[copies : copies + 1], alone, atol=1e-4)


def test_a_search_of_the_model_gives_the_same_called_and_attached(name):
    if name in ("flux", "sana"):
        pytest.skip("no unconditional branch")
    pipe, prompt = pipeline(name), "a red fox"
    keys = {"guidance_scale": arguments(name)[guiding(name)], "num_inference_steps": STEPS}
    golden = GoldenNoise(method="inversion")
    called = drawn(pipe, name, prompt, latents=golden(pipe, prompt, seed=3, **keys, **sizes(name)))
    golden.attach(pipe)
    try:
        made = drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3))
    finally:
        golden.detach()
    assert torch.allclose(made, called, atol=1e-5)


def test_guidance_of_one_and_below_is_none_as_the_pipeline_reads_it(name):
    """SDXL-Turbo is called with ``guidance_scale=0.0``."""
    if name in ("flux", "sana"):
        pytest.skip("no unconditional branch: the number is what the network reads")
    none = 0.0 if name == "z_image" else 1.0  # its pipeline counts one less
    pipe, prompt, call = pipeline(name), "a red fox", {**arguments(name), guiding(name): none - 1}
    golden = GoldenNoise(method="inversion")
    keys = {"num_inference_steps": STEPS, **sizes(name)}
    off, one, two = (golden(pipe, prompt, seed=3, guidance_scale=none + more, **keys) for more in (-1, 0, 1))
    assert torch.equal(off, one)
    assert not torch.equal(off, two)
    called = pipe(prompt=prompt, latents=off, **call)[0]
    golden.attach(pipe)
    try:
        made = pipe(prompt=prompt, generator=torch.Generator().manual_seed(3), **call)[0]
    finally:
        golden.detach()
    assert torch.equal(made, called)


def test_without_guidance_a_search_scores_the_pictures_that_the_pipeline_draws():
    pipe, prompt = shapes(), "a red circle to the left of a blue square"
    call = {"guidance_scale": 0.0, "num_inference_steps": 2}
    golden = GoldenNoise(method="best_of_n", metric="shapes_scorer", num_candidates=3)
    scorer, backbone = ShapesScorer().load(), as_backbone(pipe)
    prompts, noise = [prompt] * 3, [golden(pipe, prompt, seed=3, **call)]
    noise += [GoldenNoise(method="standard")(pipe, prompt, seed=seed) for seed in (3, 4)]
    pictures = torch.cat([pipe(prompt, latents=each, **call, output_type="pt").images for each in noise])
    with torch.no_grad():
        ours = backbone.decode(backbone.sample(torch.cat(noise), backbone.encode(prompts), 2, 1.0))
    assert torch.allclose(pictures, ours, atol=1e-3)
    scores = scorer.score(pictures, prompts)
    assert scores[0] >= scores[1]


def test_a_pipeline_that_says_it_is_distilled_has_no_unconditional_branch():
    for is_distilled in (True, False):
        found = as_backbone(tiny.flux2_klein_pipeline(is_distilled), **SIZES)
        assert ("unconditional_branch" in found.capabilities) != is_distilled


CONTROLNETS = ("sd", "sdxl", "sd3", "flux", "hunyuan", "z_image", "qwen_image")


@pytest.mark.parametrize("name", CONTROLNETS)
def test_a_controlnet_draws_from_the_golden_noise_of_its_prompt(name, attached):
    pipe, prompt, source = ready(tiny.controlnet_pipeline(name), name), "a red fox", []
    hint = {"num_inference_steps": 2, "image" if name in ("sd", "sdxl") else "control_image": torch.rand(1, 3, 64, 96)}

    def draw(**more):
        torch.manual_seed(0)  # some encode the hint with a draw of their own
        return drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3), **hint, **more)

    prepare = pipe.prepare_latents
    pipe.prepare_latents = lambda *args, **keys: source.append(prepare(*args, **keys)) or source[-1]
    plain = draw()
    del pipe.prepare_latents
    backbone = as_backbone(pipe, **sizes(name))
    # FLUX and Qwen-Image take the generator for the hint first
    noise = source[0][0] if isinstance(source[0], tuple) else source[0]
    said = backbone.encode([prompt])
    given = said.prompt_embeds, said.pooled_prompt_embeds, said.prompt_mask
    better = attached.network(unpacked(pipe, noise, backbone.latent_shape()), *given)
    if name not in ("flux", "qwen_image"):
        assert torch.allclose(better, attached(pipe, prompt, seed=3, **sizes(name)), atol=1e-5)
    called = draw(latents=as_argument(pipe, better))
    assert not torch.allclose(called, plain, atol=1e-3)
    attached.attach(pipe)
    assert torch.allclose(draw(), called, atol=1e-5)


def test_a_search_with_a_metric_returns_the_noise_of_the_best_picture():
    pipe, prompt = shapes(), "a red circle to the left of a blue square"
    call = {"guidance_scale": 5.5, "num_inference_steps": 2}
    golden = GoldenNoise(method="best_of_n", metric="shapes_scorer", num_candidates=3)
    scorer = ShapesScorer().load()
    pictures = [
        pipe(prompt, latents=noise, **call, output_type="pt").images
        for noise in (golden(pipe, prompt, seed=3, **call), GoldenNoise(method="standard")(pipe, prompt, seed=3))
    ]
    better, plain = (float(scorer.score(picture, [prompt])) for picture in pictures)
    assert better >= plain


def test_without_a_size_the_noise_is_of_the_pipelines_own():
    assert GoldenNoise(method="standard")(shapes(), "a red circle above a blue square").shape == (1, 4, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_shipped_network_serves_the_built_in_pipeline_in_the_dtype_that_is_asked_for(dtype):
    golden = GoldenNoise.from_pretrained(str(shapes_weights() / "network"), torch_dtype=dtype)
    assert {parameter.dtype for parameter in golden.network.parameters()} == {dtype}
    noise = golden(shapes(), "a red circle to the left of a blue square", seed=3)
    assert noise.dtype == torch.float32
    assert not noise.requires_grad
    change = (noise - seeding.source_noises([3], noise.shape[1:])).std()
    assert 0.05 < change < 1


def test_a_lora_and_offloading_work_as_they_did(name, attached):
    pipe, prompt = ready(tiny.PIPELINES[name](), name), "a red fox"
    if name != "hunyuan":  # diffusers has no LoRA for it
        module = getattr(pipe, family_of(pipe).layout.denoiser)
        module.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    called = drawn(pipe, name, prompt, latents=attached(pipe, prompt, seed=3, **sizes(name)))
    pipe.enable_model_cpu_offload(device="cpu")
    attached.attach(pipe)
    made = drawn(pipe, name, prompt, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(made, called, atol=1e-5)


def test_latents_that_are_given_stay_as_they_are(attached):
    pipe, prompt = pipeline("sdxl"), "a red fox"
    noise = torch.randn(1, 4, 32, 48, generator=torch.Generator().manual_seed(1))
    backbone = as_backbone(pipe, **SIZES)
    noise = seeding.source_noises([1], backbone.latent_shape())
    plain = drawn(pipe, "sdxl", prompt, latents=noise)
    attached.attach(pipe)
    assert torch.equal(drawn(pipe, "sdxl", prompt, latents=noise), plain)


def encoded(name, prompts, monkeypatch, **more):
    """What a pipeline encodes for a call, by the names under which it takes it."""
    pipe, calls = pipeline(name), []
    encode = pipe.encode_prompt
    with monkeypatch.context() as patch:
        patch.setattr(pipe, "encode_prompt", lambda *args, **keys: calls.append(encode(*args, **keys)) or calls[-1])
        drawn(pipe, name, list(prompts), **more)
    pairs = zip(ENCODED[family_of(pipe)], calls, strict=True)
    return {key: value for names, found in pairs for key, value in zip(names, found, strict=False) if value is not None}


def test_embeddings_stand_for_their_prompts(name, attached, monkeypatch):
    pipe, prompts = pipeline(name), ["a red fox", "two boats"]
    unwanted = {} if name in UNGUIDED else {"negative_prompt": ["grey", "blurred"]}
    given = encoded(name, prompts, monkeypatch, **unwanted)
    if name == "flux2":  # its pipeline makes a single row for both
        given.pop("negative_prompt_embeds")
    called = attached(pipe, seed=3, **given, **sizes(name))
    assert torch.allclose(called, attached(pipe, prompts, seed=3, **sizes(name)), atol=1e-5)
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4, 3, 4)]
    attached.attach(pipe)
    others = {"negative_prompt": None} if name == "qwen_image" else {}
    made = drawn(pipe, name, None, generator=generators[:2], **others, **given)
    assert torch.allclose(made, drawn(pipe, name, prompts, generator=generators[2:], **unwanted), atol=1e-5)


def test_what_was_encoded_before_a_call_is_not_its_prompt(attached):
    pipe, seed = pipeline("sdxl"), torch.Generator().manual_seed
    attached.attach(pipe)
    expected = drawn(pipe, "sdxl", "a red fox", generator=seed(3))
    pipe.encode_prompt("another prompt")
    with pytest.raises(ValueError, match="generators"):
        drawn(pipe, "sdxl", "yet another", generator=[seed(0), seed(1)])
    assert torch.equal(drawn(pipe, "sdxl", "a red fox", generator=seed(3)), expected)
    attached.detach()
    assert type(pipe) is StableDiffusionXLPipeline


def test_embeddings_without_a_negative_prompt_are_guided_by_the_empty_one(monkeypatch):
    pipe, golden = pipeline("sdxl"), GoldenNoise(method="inversion")
    given = encoded("sdxl", ["a red fox"], monkeypatch)
    alone = {key: value for key, value in given.items() if "negative" not in key}
    expected = golden(pipe, "a red fox", seed=3, **CALL)
    assert torch.allclose(golden(pipe, seed=3, **alone, **CALL), expected, atol=1e-5)
    grey = golden(pipe, "a red fox", seed=3, negative_prompt="grey", **CALL)
    assert torch.allclose(golden(pipe, seed=3, negative_prompt="grey", **alone, **CALL), grey, atol=1e-5)
    assert not torch.allclose(grey, expected, atol=1e-5)


def trained_for(path):
    network = Listening()
    network.trained_for = {"backbone": {"_target_": "npnet.backbones.StableDiffusionXL", "path": path}}
    return GoldenNoise(network)


def test_a_network_of_another_model_is_told_once(caplog):
    pipe = ready(tiny.sdxl_pipeline(), "sdxl")
    pipe.register_to_config(_name_or_path="owner/dream")
    other = trained_for("owner/base")
    for _ in range(2):
        other(pipe, "a red fox", **SIZES)
    assert caplog.messages == [
        "GoldenNoise: the network was trained for StableDiffusionXL (owner/base) and is used with "
        "StableDiffusionXL (owner/dream)"
    ]
    other(pipeline("sd"), "a red fox", **SIZES)
    assert caplog.messages[1].endswith("StableDiffusionXL (owner/base) and is used with StableDiffusion")


def test_a_network_of_the_same_model_or_of_a_copy_of_it_is_used_in_silence(caplog):
    pipe = ready(tiny.sdxl_pipeline(), "sdxl")
    for place, path in (("owner/base", "owner/base"), ("/a/copy", "owner/base"), ("owner/base", "/a/copy")):
        pipe.register_to_config(_name_or_path=place)
        trained_for(path)(pipe, "a red fox", **SIZES)
    GoldenNoise.from_pretrained(str(shapes_weights() / "network"))(shapes(), "a red circle above a blue square")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GoldenNoise(), "either a network or a method"),
        (lambda: GoldenNoise(method="inversoin"), "did you mean 'inversion'"),
        (lambda: GoldenNoise(method="inversion")(pipeline("sdxl"), "a", **SIZES), "guidance_scale is needed"),
        (lambda: GoldenNoise(method="inversion", cycles=0), "noise.inversion.cycles=0: a whole number of at least 1"),
        (
            lambda: GoldenNoise(method="inversion", cylces=2),
            "noise.inversion.cylces=2: no such key; did you mean 'cycles'",
        ),
        (
            lambda: GoldenNoise(method="best_of_n", budget={"forward": 2}),
            "noise.best_of_n.budget.forward=2: no such key",
        ),
        (
            lambda: GoldenNoise(method="inversion")(pipeline("sd"), "a", **CALL | {"num_inference_steps": 1}),
            "2 or more",
        ),
        (lambda: GoldenNoise(method="best_of_n")(pipeline("sd"), "a", **CALL), "give one, GoldenNoise"),
        (
            lambda: GoldenNoise(method="inversion")(tiny.controlnet_pipeline("sd"), "a", **CALL),
            "evaluates the denoiser by itself",
        ),
        (lambda: GoldenNoise(method="best_of_n", metric="hps"), "metric=hps"),
        (lambda: GoldenNoise(Listening())(nn.Identity(), "a"), "Identity: no text-to-image pipeline"),
        (lambda: GoldenNoise(Listening())(pipeline("sd"), "a", height=60), "height=60"),
        (lambda: GoldenNoise(Listening())(pipeline("sd"), "a", seed=[1, 2]), "one for each picture"),
        (lambda: GoldenNoise(Listening())(pipeline("sd")), "a prompt is needed"),
        (lambda: GoldenNoise(Listening())(pipeline("sdxl"), prompt_embeds=ROW), "pooled_prompt_embeds is needed too"),
        (lambda: GoldenNoise(Listening())(pipeline("sd"), prompt_embeds=ROW, mask=ROW), "mask: unknown; allowed"),
    ],
)
def test_a_mistake_is_one_line(make, said):
    with pytest.raises(UserError, match=said) as raised:
        make()
    assert "\n" not in str(raised.value)
