"""Texts from causal models: each as if its prompt were alone, whatever stands beside it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pyspark.sql import SparkSession

from millrace.examples.generation import CONTEXT, causal_card, causal_folder, prompts
from millrace.pipelines.console.progress import Progress
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.query.engine import query
from millrace.pipelines.run.runner import run
from millrace.schemas.errors import ModelError, RunFailed
from millrace.schemas.generation import Generation
from millrace.schemas.model import ModelCard
from millrace.schemas.steps import GenerateStep, TokensOptions, TokensStep
from millrace.udfs.engine.metering import Meter, TaskAttempt
from millrace.udfs.engine.scoring import score
from millrace.udfs.generation.causal_model import CausalModel, longest_prompt
from millrace.udfs.generation.vllm_backend import VllmModel
from millrace.udfs.models.model_loading import digest_of, load, read_card
from millrace.udfs.runtime.plan import Plan, Runtime
from tests.helpers import job_of, write_parquet

CPU = Runtime(device="cpu")
NEW = 24
PROMPTS = prompts(200)
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_folder(tmp_path_factory.mktemp("llama"), {"max_new_tokens": NEW})


def model_of(folder: Path, prompt: dict[str, Any] | None = None, **options: Any) -> CausalModel:
    """The folder's model with other options than its card has."""
    step = GenerateStep(
        name="generate", options=Generation.model_validate({"max_new_tokens": NEW, **options})
    )
    tokens = TokensStep(name="tokens", options=TokensOptions.model_validate(prompt or {}))
    card = read_card(folder).model_copy(update={"postprocess": step, "preprocess": tokens})
    return CausalModel(folder, card, CPU)


def ids_of(model: CausalModel, texts: list[str]) -> list[Any]:
    return list(model.decode(pa.RecordBatch.from_pydict({"text": texts})).values)


def written(model: CausalModel, texts: list[str]) -> dict[str, list[Any]]:
    return {name: list(v) for name, v in model.predict(ids_of(model, texts)).items()}


def alone(model: CausalModel, texts: list[str], **options: Any) -> list[list[int]]:
    """The new tokens of Transformers' own `generate`, one prompt at a time."""
    found = []
    for ids in ids_of(model, texts):
        prompt = torch.as_tensor(ids.tolist())[None]
        with torch.inference_mode():
            whole = model._network.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, **options
            )
        found.append(whole[0, prompt.shape[1] :].tolist())
    return found


def texts_of(model: CausalModel, tokens: list[list[int]]) -> list[str]:
    found: list[str] = model._tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return found


def scored(model: Any, texts: list[str | None]) -> list[dict[str, Any]]:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())})
    out = score([batch], lambda: model, Plan(inputs=("text",)), Meter(TaskAttempt()))
    return [row for part in out for row in part.to_pylist()]


# greedy


def test_200_prompts_of_mixed_length_get_the_texts_that_generate_gives_them_one_by_one(
    folder: Path,
) -> None:
    model = model_of(folder)
    expected = alone(model, PROMPTS, do_sample=False)

    out = written(model, PROMPTS)

    assert out["text"] == texts_of(model, expected)
    assert out["tokens_out"] == [len(tokens) for tokens in expected]
    ends = [tokens[-1] in model._ends for tokens in expected]
    assert out["finish"] == ["eos" if is_end else "length" for is_end in ends]
    assert 20 < sum(ends) < 180  # else the prompts would show little


@pytest.mark.parametrize("kind", ["gpt2", "mistral", "gemma2"])
def test_learned_positions_sliding_windows_and_eager_attention_give_generates_texts_too(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    other = shutil.copytree(folder, tmp_path / kind)
    network = network_of(kind)
    network.save_pretrained(other)
    causal_card(other, {"max_new_tokens": NEW})
    model = model_of(other, max_rows=5)

    out = written(model, PROMPTS[:24])

    assert out["text"] == texts_of(model, alone(model, PROMPTS[:24], do_sample=False))
    assert len(set(out["tokens_out"])) > 1


def network_of(kind: str) -> Any:
    """A small network of that kind with random weights, its end token made likely."""
    from transformers import (
        Gemma2Config,
        Gemma2ForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        MistralConfig,
        MistralForCausalLM,
    )

    common = {
        "vocab_size": 600,
        "eos_token_id": [0, *range(40, 56)],  # by chance, one comes at mixed lengths
        "bos_token_id": None,
        "pad_token_id": 0,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,  # else a token is likeliest to follow itself
    }
    sizes = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16,
    }  # fmt: skip
    torch.manual_seed(1)
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(**common, n_embd=32, n_layer=2, n_head=2, n_positions=CONTEXT)
        )
    if kind == "mistral":
        return MistralForCausalLM(MistralConfig(**common, **sizes))
    return Gemma2ForCausalLM(Gemma2Config(**common, **sizes))


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@settings(max_examples=25, derandomize=True)
@given(
    picked=st.lists(st.sampled_from(PROMPTS[:40]), min_size=1, max_size=24),
    max_rows=st.integers(1, 12),
)
def test_a_text_does_not_depend_on_batch_order_or_rows_in_flight(
    folder: Path, sampling: dict[str, Any], picked: list[str], max_rows: int
) -> None:
    model = model_of(folder, max_rows=max_rows, **sampling)
    expected = dict(zip(PROMPTS[:40], first_texts(folder, sampling), strict=True))

    assert written(model, picked)["text"] == [expected[text] for text in picked]


_FIRST: dict[str, list[str]] = {}


def first_texts(folder: Path, sampling: dict[str, Any]) -> list[str]:
    """The texts of the first 40 prompts, written one at a time."""
    name = f"{folder} {sampling}"
    if name not in _FIRST:
        model = model_of(folder, **sampling)
        _FIRST[name] = [written(model, [text])["text"][0] for text in PROMPTS[:40]]
    return _FIRST[name]


# sampling


def test_a_sampled_text_is_drawn_as_a_plain_loop_without_cache_draws_it(folder: Path) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    from millrace.udfs.generation.sampling import seed_of

    model = model_of(folder, **SAMPLED)
    warps = [TemperatureLogitsWarper(0.8), TopKLogitsWarper(40), TopPLogitsWarper(0.95)]
    expected = []
    for ids in ids_of(model, PROMPTS[:6]):
        draw = torch.Generator().manual_seed(seed_of(3, ids.tolist()))
        tokens = ids.tolist()
        while len(tokens) - len(ids) < NEW and tokens[-1] not in model._ends:
            with torch.inference_mode():
                logits = model._network(torch.tensor([tokens])).logits[:, -1]
            for warp in warps:
                logits = warp(None, logits)
            chances = torch.softmax(logits, dim=1)[0]
            tokens.append(int(torch.multinomial(chances, 1, generator=draw)))
        expected.append(tokens[len(ids) :])

    assert written(model, PROMPTS[:6])["text"] == texts_of(model, expected)


def test_another_seed_draws_other_texts_and_the_same_prompt_the_same_text(folder: Path) -> None:
    first = written(model_of(folder, **SAMPLED), PROMPTS[:20] * 2)["text"]
    other = written(model_of(folder, **{**SAMPLED, "seed": 4}), PROMPTS[:20])["text"]

    assert first[:20] == first[20:]
    assert sum(a != b for a, b in zip(first, other, strict=False)) > 10


def test_drawing_from_the_likeliest_alone_is_greedy(folder: Path) -> None:
    drawn = written(model_of(folder, do_sample=True, top_k=1), PROMPTS[:20])

    assert drawn["text"] == written(model_of(folder), PROMPTS[:20])["text"]


# where texts end


def test_a_text_ends_before_the_first_stop_text_and_is_not_written_on(folder: Path) -> None:
    whole = written(model_of(folder), PROMPTS)
    found = written(model_of(folder, stop=["the", " of a"]), PROMPTS)

    has_stop = ["the" in text or " of a" in text for text in whole["text"]]
    assert any(has_stop)
    for at, text in enumerate(whole["text"]):
        ends = [place for stop in ("the", " of a") if (place := text.find(stop)) >= 0]
        assert found["text"][at] == text[: min(ends, default=len(text))]
        assert found["finish"][at] == ("stop" if ends else whole["finish"][at])
        assert found["tokens_out"][at] <= whole["tokens_out"][at]
    assert sum(found["tokens_out"]) < sum(whole["tokens_out"])


def test_a_row_that_has_ended_is_not_computed_again(folder: Path) -> None:
    model = model_of(folder, max_rows=16)
    rows: list[int] = []
    model._network.register_forward_pre_hook(
        lambda _module, _args, named: rows.append(named["input_ids"].shape[0]), with_kwargs=True
    )

    out = written(model, PROMPTS[:60])

    assert sum(rows) == sum(out["tokens_out"])  # a forward writes one token of each of its rows
    assert max(rows) == 16


def test_the_engine_meters_the_tokens_that_were_read_and_written(folder: Path) -> None:
    rows = scored(model_of(folder), [*PROMPTS[:10]])

    assert rows[0]["_meter"]["model_batches"] == 1  # the model cuts its batches itself

    assert rows[0]["_meter"]["tokens"] == sum(row["tokens_in"] for row in rows)
    assert rows[0]["_meter"]["tokens_out"] == sum(row["tokens_out"] for row in rows)
    assert [row["error"] for row in rows] == [None] * 10


# prompts that are too long


def test_a_prompt_that_leaves_no_room_for_its_text_is_an_error_of_its_row(folder: Path) -> None:
    long = " ".join(PROMPTS)
    model = model_of(folder)

    first, null, empty, last = scored(model, [PROMPTS[0], None, "", long])

    assert (first["error"], first["finish"] in ("eos", "length")) == (None, True)
    assert (null["error"]["message"], empty["error"]["message"]) == ("null", "no token in it")
    assert f"at most {CONTEXT - NEW}: context {CONTEXT}" in last["error"]["message"]
    assert (last["text"], last["tokens_out"], last["finish"]) == (None, None, None)


def test_a_prompt_that_is_not_utf_8_is_an_error_of_its_row(folder: Path) -> None:
    cells = [PROMPTS[0].encode(), b"\xc3(", None, PROMPTS[1].encode()]
    batch = pa.record_batch({"text": pa.array(cells, pa.binary()).view(pa.string())})

    found = model_of(folder).decode(batch)

    assert found.rows.tolist() == [0, 3]
    assert found.errors == {1: "not UTF-8: invalid continuation byte at byte 0", 2: "null"}


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_long_prompt_is_cut_at_the_side_that_the_card_names(folder: Path, side: str) -> None:
    long = " ".join(PROMPTS[:40])
    whole = model_of(folder)._tokenizer(long, verbose=False)["input_ids"]
    model = model_of(folder, {"truncate": side, "max_tokens": 30})

    (ids,) = ids_of(model, [long])

    assert ids.tolist() == (whole[-30:] if side == "left" else whole[:30])
    assert written(model, [long])["tokens_in"] == [30]


def test_the_cache_holds_no_more_than_its_budget(folder: Path) -> None:
    model = model_of(folder, cache_mib=1, max_new_tokens=256)
    slots = model._slots(200, rows=1000)
    with torch.inference_mode():
        filled = model._network(torch.zeros(1, 200, dtype=torch.long), use_cache=True)
    slots.join(filled.past_key_values, [200])
    size_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in slots.cache.layers)

    assert (1 << 19) < size_bytes <= 1 << 20
    assert slots.rows == 3


def test_a_small_budget_for_the_cache_shortens_prompts_and_says_so(folder: Path) -> None:
    model = model_of(folder, cache_mib=1)
    config = model._network.config

    assert longest_prompt(config, model.card, model._options, 100) == (
        100 - NEW,
        f"cache_mib is 1, max_new_tokens {NEW}",
    )
    assert longest_prompt(config, model.card, model._options, 2048)[0] == CONTEXT - NEW


def test_a_model_without_room_for_any_prompt_is_refused_when_it_loads(folder: Path) -> None:
    with pytest.raises(ModelError, match="no room for a prompt") as caught:
        model_of(folder, max_new_tokens=CONTEXT)

    assert str(CONTEXT) in str(caught.value.got)


# numbers that are none


def test_a_row_with_nan_fails_alone_and_leaves_nothing_behind_for_the_next_in_its_slot(
    folder: Path,
) -> None:
    model = model_of(folder, max_rows=2)
    expected = written(model, PROMPTS[:30])["text"]
    poison = model._tokenizer.convert_tokens_to_ids("~")
    assert all("~" not in text for text in PROMPTS[:30])
    with torch.no_grad():
        model._network.get_input_embeddings().weight[poison] = float("nan")

    mixed = [text + ("" if at % 3 else " ~") for at, text in enumerate(PROMPTS[:30])]
    rows = scored(model, [*mixed])

    for at, row in enumerate(rows):
        if at % 3:
            assert (row["error"], row["text"]) == (None, expected[at])
        else:
            assert row["error"]["kind"] == "output"
            assert row["text"] is None


# what is refused before anything is written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"max_new_tokens\n  Field required"),
        ({"max_new_tokens": 0}, r"max_new_tokens\n  Input should be greater than or equal to 1"),
        ({"max_new_tokens": 8, "temperature": 0.5}, "read only with do_sample: true"),
        ({"max_new_tokens": 8, "do_sample": True, "temperature": 0}, "temperature"),
        ({"max_new_tokens": 8, "do_sample": True, "top_p": 1.5}, "top_p"),
        ({"max_new_tokens": 8, "stop": [""]}, "stop.0"),
        ({"max_new_tokens": 8, "beams": 4}, r"beams\n  Extra inputs are not permitted"),
    ],
)
def test_options_that_cannot_be_are_refused_with_the_card(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    card = read_card(folder).model_dump()

    with pytest.raises(ValidationError, match=message):
        ModelCard.model_validate({**card, "postprocess": {"name": "generate", "options": options}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"preprocess": {"name": "tokens", "options": {"truncate": "middle"}}},
            "'left' or 'right'",
        ),
        (
            {"preprocess": {"name": "tokens", "options": {"max_tokens": 0}}},
            "greater than or equal to 1",
        ),
        ({"format": "onnx", "files": {"a.onnx": "0" * 64}}, "generate is for format huggingface"),
    ],
)
def test_a_card_that_generate_cannot_serve_is_refused(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelCard.model_validate({**read_card(folder).model_dump(), **change})


def test_a_folder_that_asks_for_what_is_not_done_is_refused_not_half_obeyed(
    folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "penalty")
    path = other / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repetition_penalty": 1.2}))

    with pytest.raises(ModelError, match="asks for what Millrace does not do") as caught:
        model_of(other)

    assert caught.value.got == "repetition_penalty: 1.2"


def test_weights_that_are_missing_are_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(folder, tmp_path / "headless")
    weights = load_file(other / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, other / "model.safetensors", {"format": "pt"})

    with pytest.raises(ModelError, match="do not fit generate") as caught:
        model_of(other)

    assert "lm_head.weight" in str(caught.value.got)


def test_a_network_that_keeps_a_state_instead_of_keys_and_values_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    other = shutil.copytree(folder, tmp_path / "mamba")
    MambaForCausalLM(
        MambaConfig(vocab_size=600, hidden_size=16, num_hidden_layers=1, state_size=4)
    ).save_pretrained(other)

    with pytest.raises(ModelError, match="cannot write many rows at a time"):
        model_of(other)


@pytest.mark.parametrize("runtime", [Runtime("cpu", precision="int8"), Runtime("cpu", "openvino")])
def test_a_runtime_that_writes_no_text_is_refused_with_those_that_do(
    folder: Path, runtime: Runtime
) -> None:
    with pytest.raises(RunFailed, match="cannot be run with") as caught:
        load(folder, digest_of(folder), runtime)

    assert "torch fp32 on cpu" in str(caught.value.allowed)


def test_vllm_where_it_is_not_installed_is_refused_and_says_what_to_install(folder: Path) -> None:
    with pytest.raises(ModelError, match="vLLM, which cannot be imported here") as caught:
        VllmModel(folder, read_card(folder), Runtime("cuda", "vllm"))

    assert "millrace[vllm]" in str(caught.value.next)


def test_the_card_that_the_documentation_shows_is_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "GENERATION.md"
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    shutil.copytree(folder, tmp_path / "my-llama")
    monkeypatch.chdir(tmp_path)

    exec(compile(snippet, page.name, "exec"), {})  # the text is ours

    other = tmp_path / "my-llama"
    model = load(other, digest_of(other), CPU)
    out = model.predict(model.decode(pa.RecordBatch.from_pydict({"prompt": ["The"]})).values)
    assert out["tokens_in"].tolist() == [1]


# a whole run


@pytest.mark.slow
@pytest.mark.spark
def test_a_job_writes_texts_and_their_tokens_to_its_table(
    spark: SparkSession, folder: Path, tmp_path: Path
) -> None:
    texts = [*PROMPTS[:30], " ".join(PROMPTS)]
    table = pa.table({"id": pa.array(range(31), pa.int64()), "text": texts})
    write_parquet(tmp_path / "input", table, files=2)
    contract = {
        "columns": {
            "id": {"type": "bigint", "nullable": False, "unique": True},
            "text": {"type": "string", "nullable": False},
        }
    }

    summary = run(spark, job_of(tmp_path, folder, contract=contract), Progress(quiet=True))

    assert (summary.scored, summary.failed) == (30, 1)
    sql = "SELECT id, text, tokens_in, tokens_out, finish, error FROM predictions_tiny ORDER BY id"
    rows = query(LakeLocation(tmp_path / "lake"), sql).to_pylist()
    expected = written(model_of(folder), PROMPTS[:30])
    for name in ("text", "tokens_in", "tokens_out", "finish"):
        assert [row[name] for row in rows[:30]] == expected[name], name
    assert "at most" in str(rows[30]["error"])
