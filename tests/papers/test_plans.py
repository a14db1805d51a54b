"""Every table on every setting: its plan, compared with what is published, and composed as its commands compose it."""

import json
from collections import Counter

import pytest

from collect.settings import CollectSettings
from npnet.data.seeds import assign_seeds
from npnet.evaluation.settings import EvaluateSettings
from npnet.papers.asked import FOLDER, Asked
from npnet.papers.costs import composed, cost
from npnet.papers.jobs import Job, grammar, published_place
from npnet.papers.page import _called
from npnet.papers.planning import plan
from npnet.papers.published import published
from npnet.papers.published import table as published_table
from npnet.papers.setting import settings
from npnet.papers.table import tables
from npnet.settings import read as read_settings

PUBLISHED_COUNTS = {"pick_a_pic": 100, "drawbench": 200, "hpd": 100, "geneval": 553, "simple": 276, "complex": 100}
REAL = [name for name in settings() if not name.startswith("shapes")]
PAPER = {"sdxl": (5.5, 50), "dreamshaper": (3.5, 50), "hunyuan_dit": (5.0, 50), "sd14": (7.5, 50), "sd21": (7.5, 50)}


def evaluations(jobs):
    return [job for job in jobs if job.command == "evaluate"]


def test_every_table_and_setting_of_the_papers_is_there(planned):
    names = {f"table{number}" for number in range(2, 17)} | {f"figure{n}" for n in (3, 4, 5, 8, 10, 11, 12, 14, 16, 17)}
    assert names <= set(tables())
    assert set(settings()) >= {"shapes", "sdxl", "dreamshaper", "hunyuan_dit", "sd14", "sd21", "sd3", "flux", "wan"}
    for name, table in tables().items():
        assert table.not_possible or any(key[0] == name for key in planned), (
            f"{name} can be made nowhere, and says not why"
        )
        assert set(table.settings) <= set(settings())


def test_every_published_table_is_shown_by_one_of_ours():
    assert {table.published for table in tables().values()} >= set(published())


@pytest.mark.parametrize("where", REAL)
def test_a_real_setting_has_the_published_numbers_of_prompts_guidance_and_steps(where):
    setting = settings()[where]
    assert {name: choice.count for name, choice in setting.prompts.items()}.items() <= PUBLISHED_COUNTS.items()
    if where in PAPER:
        assert (setting.guidance_scale, setting.num_inference_steps) == PAPER[where]
    assert (setting.seeds.range, setting.seeds.per_prompt) == ((0, 100), 1)


@pytest.mark.parametrize("where", ["sdxl", "dreamshaper", "hunyuan_dit"])
def test_as_many_pairs_are_tried_that_the_published_number_is_kept(where):
    pairs = settings()[where].pairs
    assert pairs.count == {"sdxl": 100_000, "dreamshaper": 80_000, "hunyuan_dit": 600}[where]
    assert pairs.prompts * pairs.per_prompt * pairs.kept.get("npnet", 0.76) >= pairs.count
    assert pairs.prompts <= 35_000, "Pick-a-Pic has that many distinct prompts"
    recipe = settings()[where].recipe
    assert (recipe["batch_size"], recipe["trainer.max_epochs"], recipe["module.warmup_steps"]) == (64, 30, 0)


def test_the_kept_shares_are_those_that_table_9_prints():
    rows = published_table("golden_noise_table9").figures
    filtered = {row[-1]: figures["filter_rate"] for row, figures in rows.items()}
    kept = settings()["sdxl"].pairs.kept
    assert {label: round(100 - 100 * share, 2) for label, share in kept.items()} == filtered


@pytest.mark.parametrize(
    "name", [name for name, table in tables().items() if table.published and table.shows == "evaluations"]
)
def test_every_published_row_of_a_setting_is_planned(planned, name):
    """What the paper prints is compared: each row is the row of one evaluation and one of its methods."""
    table, figures = tables()[name], published_table(tables()[name].published)
    for where in set(table.settings) & set(REAL):
        setting = settings()[where]
        if (name, where) not in planned:
            continue
        found = Counter()
        for job in evaluations(planned[name, where]):
            place = published_place(job, table.published_backbone(where, setting))
            point = " ".join(f"{k}={v}" for k, v in job.place.items() if k != "prompts")
            for label in {*table.methods, *table.networks_of(where)}:
                called = table.published_as.get(f"{point}/{label}", table.published_as.get(label, label))
                for row in figures.select(**{**place, "method": _called(figures, called)}):
                    found[row] += 1
        wanted = {row for row in figures.select(backbone=setting.published) if row[1] in setting.prompts}
        other = {row for row in wanted - set(found) if not expected_elsewhere(name, row)}
        assert not other, other


def expected_elsewhere(name, row):
    """Rows that stand in a table of ours beside this one, or once instead of twice."""
    if name.startswith("table11"):
        return ("guidance" in row[-1]) == (name == "table11")
    return name == "table10" and "euler_ancestral" in row


def test_thresholds_and_sweeps_are_the_published_ones(planned):
    margins = {job.keys["margin"] for job in planned["table9", "sdxl"] if job.command == "filter"}
    assert margins == {0.005, 0.01, 0.02}
    models = [tuple(job.keys["metric"]) for job in planned["table8", "sdxl"] if job.command == "filter"]
    assert len(models) == len(set(models)) == 7
    guidance = {job.place["guidance_scale"] for job in evaluations(planned["table11_guidance", "sdxl"])}
    assert guidance == {1.0, 3.0, 5.5, 7.0}
    collected = [
        job.keys.get("noise.inversion.guidance_scale") for job in planned["table11", "sdxl"] if job.command == "collect"
    ]
    assert set(collected) == {None, 1.0, 3.0, 5.5, 7.0}


def test_equal_steps_are_equal(planned):
    for name in ("table9", "table15"):
        for where in ("shapes", "sdxl"):
            jobs = {job.output_dir.parent.name: job for job in planned[name, where] if job.command == "train"}
            whole = cost(jobs["npnet"]).optimisation_steps
            for label, job in jobs.items():
                if label.endswith("_equal_steps"):
                    assert cost(job).optimisation_steps == pytest.approx(whole, rel=0.1), (name, where, label)
                elif label != "npnet":
                    assert cost(job).optimisation_steps < 0.85 * whole, (name, where, label)


def test_a_network_of_one_name_is_the_same_in_every_table(planned):
    """Paths follow from table and setting, so two plans may share a folder only where they ask for the same."""
    keys = {}
    for jobs in planned.values():
        for job in jobs:
            assert keys.setdefault(job.output_dir, job.overrides) == job.overrides, job.output_dir
            assert job.output_dir.parts[:3] == (*FOLDER.parts, job.output_dir.parts[2])


def test_initno_has_its_hundred_steps_and_the_other_model_s_network_no_text(planned):
    for where in ("shapes_b", "sd14"):
        (job,) = evaluations(planned["table7", where])
        config = composed(job)
        method = config["noise"]["initno"]
        assert method["num_rounds"] * method["round_steps"] + method["final_steps"] == 100
        assert method["budget"] == {"forwards": None, "seconds": None}
        assert config["noise"]["npnet"]["text_term"] == "off"


def test_both_forms_without_singular_values_are_trained_and_the_one_with_the_noise_is_compared(planned):
    for where in ("shapes", "sdxl"):
        jobs = [job for job in planned["table4", where] if job.command == "train"]
        trained = {job.output_dir.parent.name: composed(job) for job in jobs}
        assert trained["no_svd"]["network"]["singular_value_branch"] == "off"
        assert trained["left_out"]["network"]["singular_value_branch"] == "left_out"
    rows = published_table("golden_noise_table4").select(method="no_svd")
    assert rows and not published_table("golden_noise_table4").select(method="left_out")


def test_fine_tuning_is_at_the_papers_batch_and_epochs_and_beside_it_as_tuned_here(planned):
    for where in ("shapes_b", "hunyuan_dit"):
        trained = {job.output_dir.parent.name: job.keys for job in planned["table3", where] if job.command == "train"}
        recipes = {label: (keys["batch_size"], keys["trainer.max_epochs"]) for label, keys in trained.items()}
        assert (recipes["npnet"], recipes["tuned"]) == ((64, 30), (16, 100))
        assert trained["npnet"]["init_from"] == trained["tuned"]["init_from"]
        assert "init_from" not in trained.get("scratch", {})


def test_noise_diffusion_is_searched_with_each_of_four_models_on_four_versions(planned):
    pairs = {
        (where, composed(job)["metric"]["vqascore"]["path"])
        for where in ("sd14", "sd15", "sd21", "sd3")
        for job in evaluations(planned["noise_diffusion_models", where])
    }
    assert len(pairs) == 16


def test_noise_diffusion_varies_candidates_rounds_and_steps_and_nothing_else(planned):
    """N, M and T: published are 50 of each; every rule after each number of rounds."""

    def searched(job):
        return [m for label, m in composed(job)["noise"].items() if label.startswith("noise_diffusion")]

    (job,) = evaluations(planned["noise_diffusion_candidates", "sd14"])
    assert {(m["num_candidates"], m["num_rounds"]) for m in searched(job)} == {(1, 50), (10, 50), (50, 50)}
    job, *_ = evaluations(planned["noise_diffusion_rounds", "sd14"])
    rounds = Counter((m["variant"], m["num_rounds"]) for m in searched(job))
    assert len(rounds) == 15 and set(rounds.values()) == {1}
    assert {number for _, number in rounds} == {1, 5, 50}
    steps = [searched(job)[0] for job in evaluations(planned["noise_diffusion_steps", "sd14"])]
    assert [(m["num_inference_steps"], m["num_rounds"]) for m in steps] == [(10, 50), (25, 50), (50, 50)]


def test_the_meaning_of_a_noise_is_drawn_without_the_prompt_where_guidance_is_distilled_too(planned):
    for where in ("flux", "sd3"):
        by_case = {job.place["case"]: composed(job) for job in evaluations(planned["semantic_erasure_figure3", where])}
        alone, drawn = by_case["empty_prompt"], by_case["prompt"]
        assert (alone["guidance_scale"], drawn["guidance_scale"]) == (0, settings()[where].guidance_scale)
        assert alone["seeds"] == drawn["seeds"] and alone["prompts"] == drawn["prompts"]
        backbone = read_settings(EvaluateSettings, alone).backbone
        assert "unconditional_branch" in backbone.capabilities, where


def test_no_recipe_of_a_real_model_is_warmed_up_as_the_demo_is(planned):
    trained = {
        job.output_dir: job
        for (_, where), jobs in planned.items()
        for job in jobs
        if job.command == "train" and where in REAL and job.output_dir.parent.name != "tuned"
    }
    for job in trained.values():
        assert composed(job)["module"]["warmup_steps"] == 0, job.output_dir


def test_the_trunk_starts_from_pretrained_weights_as_in_the_paper(planned):
    forms = [job for job in planned["table4", "sdxl"] if job.command == "train"]
    residual = [config for config in (composed(job)["network"] for job in forms) if config["residual_branch"]]
    assert len(residual) == 4 and all(config["pretrained_trunk"] for config in residual)


def test_published_prompts_with_their_seeds_are_read_as_they_are(tmp_path):
    rows = [{"prompt": "a fox", "seed": 7}, {"prompt": "a fox", "seed": 900}, {"prompt": "a dog", "seed": 3}]
    (tmp_path / "training_pairs.json").write_text("\n".join(map(json.dumps, rows)))
    collect, *_ = plan("table2", tables()["table2"], "sdxl", Asked(inputs=tmp_path))
    config = composed(collect)
    settings = read_settings(CollectSettings, config)
    found = assign_seeds(settings.prompts.read(), settings.seeds, settings.seed)
    assert [(sample.prompt, sample.seed) for sample in found] == [(row["prompt"], row["seed"]) for row in rows]
    assert collect.output_dir.name == "pairs_listed", "other pairs than those of drawn seeds have a folder of their own"


def test_smoke_size_is_small_and_has_a_folder_of_its_own(planned):
    for name, where in planned:
        if where.startswith("shapes"):
            for job in plan(name, tables()[name], where, Asked(smoke=True)):
                assert job.output_dir.is_relative_to(FOLDER / "smoke" / where)
                assert job.command != "evaluate" or job.prompts <= 4
                assert job.command != "collect" or job.prompts <= 48


def test_a_key_of_every_evaluation_leaves_what_the_table_varies():
    jobs = evaluations(plan("figure4", tables()["figure4"], "shapes", Asked(keys={"num_inference_steps": 2})))
    assert [job.keys["num_inference_steps"] for job in jobs] == [job.place["num_inference_steps"] for job in jobs]


def test_mps_is_compared_where_its_weights_are_given(tmp_path):
    (tmp_path / "mps.safetensors").touch()
    for inputs in (None, tmp_path):
        job = plan("table2", tables()["table2"], "sdxl", Asked(inputs=inputs))[-1]
        assert ("mps" in job.keys["metric"]) is ("metric.mps.path" in job.keys) is (inputs is not None)


def test_fine_tuning_is_planned_with_the_network_that_it_starts_from(planned):
    jobs = [job for job in planned["table3", "hunyuan_dit"] if job.command == "train"]
    assert jobs[0].output_dir == FOLDER / "sdxl" / "networks" / "npnet" / "seed_0"
    assert {job.keys["init_from"] for job in jobs[1:]} == {str(jobs[0].output_dir / "network")}


def test_no_key_is_passed_of_a_method_that_is_not_compared():
    jobs = plan("table2", tables()["table2"], "shapes", Asked(methods=("standard", "npnet")))
    assert set(composed(jobs[-1])["noise"]) == {"standard", "npnet"}


def test_a_released_network_is_marked_as_optimised_for_what_selected_its_pairs():
    jobs = plan("table2", tables()["table2"], "sdxl", Asked(network_path="sdxl.pth"))
    assert {job.command for job in jobs} == {"evaluate"}
    for job in jobs:
        assert job.keys["network_path"] == "sdxl.pth" and job.keys["optimised"] == ["hpsv2"]


def test_every_plan_composes_and_every_description_is_built(planned):
    """As the commands do it, offline, without weights or prompts; of jobs that differ in plain numbers alone, one."""
    built = {}
    for jobs in planned.values():
        for job in jobs:
            words = [job.keys.get(key) for key in ("backbone", "network", "prompts", "sampler")]
            built.setdefault((job.command, *words, *job.keys), job)
    for job in built.values():
        found = cost(job)
        if job.command == "evaluate":
            assert found.pairs == job.prompts * job.keys["seeds.per_prompt"]
        if job.command == "collect":
            assert found.forwards > 0


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "null"), (True, "true"), (1.5, "1.5"), ([1, "a"], "[1,a]"), ("off", "'off'"), ("a/{0,1}/b", "'a/{0,1}/b'")],
)
def test_values_are_written_in_hydra_s_grammar(value, written):
    assert grammar(value) == written


def test_a_job_is_done_when_its_last_file_is_there(tmp_path):
    job = Job("train", tmp_path, {})
    assert not job.is_done
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "config.json").write_text("{}")
    assert job.is_done
