"""The laws of noise methods: what ``npnet check noise=NAME`` runs on a plug-in, and the contract tests on every member.

A law is a small function of a ``Case``; its name says what holds, and an ``AssertionError`` what does not. ``LAWS``
lists them. A method that a backbone is refused for has no case on it: ask ``npnet.compatibility.check_method`` first.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.laws.require import require, require_refusal
from npnet.laws.state import state_of
from npnet.noise import NoiseMethod
from npnet.records import Conditioning, Cost, NoiseResult

HEAVY = ("torch", "diffusers", "transformers", "lightning")
"""What a description does without."""


@dataclass(frozen=True)
class Case:
    """A method on a backbone.

    Attributes:
        method: its description, whose scorer is settled.
        backbone: loaded.
        scorers: loaded metrics by label.
        prompts: of the batch, at least two, which the backbone has words for.
        seeds: one for each prompt.
        guidance_scale: of the sampling.
        num_inference_steps: of the sampling.
        known: the run that the laws share.
    """

    method: NoiseMethod
    backbone: Any
    scorers: Mapping[str, Any]
    prompts: Sequence[str]
    seeds: Sequence[int] = field(default=(11, 12, 13))
    guidance_scale: float = 5.5
    num_inference_steps: int = 2
    known: dict[str, Run] = field(default_factory=dict, compare=False, repr=False)

    def noise(self, rows: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw the source noise of some samples."""
        return seeding.source_noises([self.seeds[row] for row in rows], self.backbone.latent_shape()).to(dtype)

    def generators(self, rows: Sequence[int]) -> list[torch.Generator]:
        """Return the streams of the method's own draws."""
        return seeding.streams([self.seeds[row] for row in rows], "noise method")

    def rows(self) -> range:
        """Return the places of all samples."""
        return range(len(self.prompts))

    def conditioning(self, rows: Sequence[int]) -> Conditioning:
        """Encode the prompts of some samples."""
        return self.backbone.encode([self.prompts[row] for row in rows])

    def once(self) -> Run:
        """Return the run of all samples that every law may look at: it is made once."""
        if "once" not in self.known:
            self.known["once"] = self.run()
        return self.known["once"]

    def run(self, rows: Sequence[int] | None = None, dtype: torch.dtype = torch.float32) -> Run:
        """Load the method and run it on some samples, all by default, as the commands do: without gradients."""
        rows = self.rows() if rows is None else rows
        noise, generators = self.noise(rows, dtype), self.generators(rows)
        with torch.no_grad():
            conditioning = self.conditioning(rows)
            loaded = self.method.load(self.backbone, self.scorers)
            before = self.backbone.cost
            result = loaded(noise, conditioning, self.backbone, generators)
        return Run(noise, result, generators, self.backbone.cost - before)


@dataclass(frozen=True)
class Run:
    """One call: the noise that was given, what came back, the generators afterwards, and what was spent."""

    noise: Tensor
    result: NoiseResult
    generators: list[torch.Generator]
    cost: Cost


def the_noise_keeps_shape_dtype_and_holds_numbers(case: Case) -> None:
    """The result has the shape and dtype of the given noise (float32, float16), is finite, and has no gradients."""
    for dtype in (torch.float32, torch.float16):
        run = case.once() if dtype == torch.float32 else case.run(dtype=dtype)
        golden = run.result.noise
        require(golden.shape == run.noise.shape, f"shape {tuple(golden.shape)} for {tuple(run.noise.shape)}")
        require(golden.dtype == dtype, f"dtype {golden.dtype} for {dtype}")
        require(torch.isfinite(golden).all(), "the noise holds NaN or infinity")
        require(not golden.requires_grad, "the noise carries a graph of gradients")


def the_same_seeds_give_the_same_bits(case: Case) -> None:
    """Two runs with the same seeds agree bit for bit, and draw only from the given generators."""
    one = case.once()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987)
        before = torch.random.get_rng_state()
        other = case.run()
        require(torch.equal(torch.random.get_rng_state(), before), "torch's own generator was drawn from")
    require(torch.equal(one.result.noise, other.result.noise), "two runs with the same seeds differ")


def a_sample_does_not_depend_on_the_batch(case: Case) -> None:
    """A sample alone gets the same draws as in a batch, bit for bit, and the same noise up to rounding, 1e-4."""
    whole = case.once()
    for row in case.rows():
        alone = case.run([row])
        state, other = alone.generators[0].get_state(), whole.generators[row].get_state()
        require(torch.equal(state, other), f"sample {row} draws another number of values alone")
        near = torch.allclose(alone.result.noise[0], whole.result.noise[row], rtol=1e-4, atol=1e-4)
        require(near, f"sample {row} has another noise alone")


def the_variance_stays_in_its_bound(case: Case) -> None:
    """The variance of each sample lies in ``variance_bound``, up to sampling error."""
    run = case.once()
    slack = 5 * (2 / run.noise[0].numel()) ** 0.5
    low, high = case.method.variance_bound
    variance = run.result.noise.float().flatten(1).var(1)
    inside = (variance >= low - slack) & (variance <= high + slack)
    require(inside.all(), f"{variance.tolist()} not in {low} to {high}")


def the_cost_is_the_one_that_forwards_says(case: Case) -> None:
    """The measured denoiser forwards are those that ``forwards`` states, unless it returns None."""
    said, run = case.method.forwards(case.backbone.description), case.once()
    measured = run.cost.forwards / len(run.noise)
    require(said is None or said == measured, f"forwards() says {said}, measured were {measured:g} for each sample")


def the_inputs_and_the_backbone_stay_as_they_were(case: Case) -> None:
    """The given noise, the embeddings, and the backbone with its modes are left unchanged."""
    rows, backbone = case.rows(), case.backbone
    noise = case.noise(rows)
    with torch.no_grad():
        conditioning = case.conditioning(rows)
        loaded = case.method.load(backbone, case.scorers)
        given, tensors = noise.clone(), {name: tensor.clone() for name, tensor in conditioning.tensors().items()}
        before = state_of(backbone)
        loaded(noise, conditioning, backbone, case.generators(rows))
    require(torch.equal(noise, given), "the given noise was changed in place")
    for name, tensor in conditioning.tensors().items():
        require(torch.equal(tensor, tensors[name]), f"{name} was changed in place")
    after = state_of(backbone)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    require(not changed, f"the backbone's {', '.join(sorted(changed))} changed")


def a_first_evaluation_that_is_promised_is_the_one_sampling_starts_with(case: Case) -> None:
    """The result has ``first_branches`` where ``shares_first_evaluation`` says so, and sampling can start from them."""
    run, steps = case.once(), case.num_inference_steps
    branches = run.result.first_branches
    promised = case.method.shares_first_evaluation(steps)
    require(promised == (branches is not None), f"promised: {promised}, given: {branches is not None}")
    if branches is None:
        return
    require(branches.conditional.dtype == torch.float32, "the branches are not float32")
    with torch.no_grad():
        conditioning = case.conditioning(case.rows())
        sample = case.backbone.sample
        plain = sample(run.noise, conditioning, steps, case.guidance_scale)
        shared = sample(run.noise, conditioning, steps, case.guidance_scale, first_branches=branches)
    require(torch.allclose(shared, plain, atol=1e-5), "the branches are not those of the given noise")


def a_finished_sample_is_the_one_that_sampling_makes(case: Case) -> None:
    """The result is ``finished`` where ``finishes`` says so, with what sampling from its noise gives, bit for bit."""
    run, sampling = case.once(), (case.num_inference_steps, case.guidance_scale)
    promised, finished = case.method.finishes(case.backbone.description, *sampling), run.result.finished
    require(promised == (finished is not None), f"promised: {promised}, given: {finished is not None}")
    if finished is None:
        return
    with torch.no_grad():
        latents = case.backbone.sample(run.result.noise, case.conditioning(case.rows()), *sampling)
    require(torch.equal(finished.latents, latents), "sampling from the noise gives another sample")


def a_trace_rises_and_ends_at_the_cost(case: Case) -> None:
    """In a search, the best score never falls, and the trace ends at the forwards that were spent."""
    run = case.once()
    if not run.result.trace:
        return
    scores = torch.stack([point.score for point in run.result.trace])
    forwards = [point.forwards for point in run.result.trace]
    require((scores.diff(dim=0) >= 0).all(), "the best score so far falls")
    require(forwards == sorted(forwards), "the forwards of the trace fall")
    measured = run.cost.forwards / len(run.noise)
    require(measured <= forwards[-1], f"the trace ends at {forwards[-1]} forwards, {measured:g} were spent")


def the_description_travels(case: Case) -> None:
    """The description survives pickling."""
    copy = pickle.loads(pickle.dumps(case.method))
    require(copy == case.method, "the pickled description differs")
    require((copy.scorers, copy.needs) == (case.method.scorers, case.method.needs), "other scorers or needs")


def the_description_cannot_be_changed(case: Case) -> None:
    """The description is frozen: assigning to a key raises an error."""
    for name in case.method.__dataclass_fields__:
        assign = partial(setattr, case.method, name, getattr(case.method, name))
        require_refusal(AttributeError, assign, f"{name} can be assigned")


def the_description_imports_no_torch(case: Case) -> None:
    """Importing the description imports no torch (checked for methods of this project only)."""
    module = type(case.method).__module__
    if not module.startswith("npnet."):
        return
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    require(not found, f"{module} imports {', '.join(found)}")


Law = Callable[[Case], None]
LAWS: dict[str, Law] = {
    law.__name__.replace("_", " "): law
    for law in (
        the_noise_keeps_shape_dtype_and_holds_numbers,
        the_same_seeds_give_the_same_bits,
        a_sample_does_not_depend_on_the_batch,
        the_variance_stays_in_its_bound,
        the_cost_is_the_one_that_forwards_says,
        the_inputs_and_the_backbone_stay_as_they_were,
        a_first_evaluation_that_is_promised_is_the_one_sampling_starts_with,
        a_finished_sample_is_the_one_that_sampling_makes,
        a_trace_rises_and_ends_at_the_cost,
        the_description_travels,
        the_description_cannot_be_changed,
        the_description_imports_no_torch,
    )
}
"""Every law by its name in words; its docstring's first line says what holds, and ``npnet check`` shows it."""
