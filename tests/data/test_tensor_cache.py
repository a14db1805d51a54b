import torch

from npnet.data.tensor_cache import TensorCache

TENSORS = {"prompt_embeds": torch.randn(3, 4).half(), "extras.prompt_mask_2": torch.tensor([1, 1, 0])}


def test_what_is_written_is_read(tmp_path):
    cache = TensorCache(tmp_path, "a model")
    assert cache.read("a cat") is None
    cache.write("a cat", TENSORS)
    back = cache.read("a cat")
    assert back.keys() == TENSORS.keys()
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    assert cache.read("a dog") is None


def test_a_row_of_a_batch_is_stored_alone(tmp_path):
    cache = TensorCache(tmp_path, "a model")
    batch = torch.randn(8, 77, 64)
    cache.write("a cat", {"prompt_embeds": batch[3]})
    assert cache.path("a cat").stat().st_size < 2 * batch[3].numel() * 4
    assert torch.equal(cache.read("a cat")["prompt_embeds"], batch[3])


def test_models_do_not_share_embeddings(tmp_path):
    TensorCache(tmp_path, "a model").write("a cat", TENSORS)
    assert TensorCache(tmp_path, "another model").read("a cat") is None


def test_a_damaged_file_is_as_good_as_none(tmp_path):
    cache = TensorCache(tmp_path, "a model")
    cache.write("a cat", TENSORS)
    whole = cache.path("a cat").read_bytes()
    for damaged in (b"", whole[:-3], b"\xff" * 40):
        cache.path("a cat").write_bytes(damaged)
        assert cache.read("a cat") is None
    cache.path("a cat").write_bytes(whole)
    assert cache.read("a cat") is not None


def test_nothing_but_whole_files_is_left(tmp_path):
    cache = TensorCache(tmp_path, "a model")
    for prompt in ("a cat", "a cat", "\n", "", "ü" * 5000):
        cache.write(prompt, TENSORS)
        assert cache.read(prompt) is not None
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors"}
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4
