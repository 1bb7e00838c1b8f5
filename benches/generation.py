"""A generation job of 200 prompts of mixed length: Millrace's causal model against ``generate`` one by one.

Both run in this process on one thread with the same weights in fp32, in turn, round after round; the
texts are compared. ``generate`` in padded batches of 64, longest first, stands beside them.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from benches.machine import cpu_model, machine, slug, versions
from millrace.examples.generation import causal_card, causal_folder, prompts
from millrace.udfs.models.model_loading import digest_of, load
from millrace.udfs.runtime.plan import Runtime

RESULTS = Path(__file__).parent / "results"
MAX_NEW_TOKENS = 64
_PADDED_ROWS = 64
_SIZE = {"layers": 4, "hidden": 256, "vocabulary": 4000, "ends": 100}

Texts = list[str]
Times = tuple[float, float]  # wall and CPU seconds; a neighbour on the machine adds to the first


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--rows", default=200, show_default=True)
@click.option("--model", type=click.Path(path_type=Path), default=Path("build/bench/generation"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(rounds: int, rows: int, model: Path, out: Path) -> None:
    """Measure, check that the texts are equal, write JSON."""
    torch.set_num_threads(1)
    options = {"max_new_tokens": MAX_NEW_TOKENS}
    folder = (
        causal_card(model, options)
        if (model / "model.yaml").exists()
        else causal_folder(model, options, **_SIZE)
    )
    ours = load(folder, digest_of(folder), Runtime(device="cpu"))
    texts = prompts(rows)
    examples = ours.decode(pa.RecordBatch.from_pydict({"text": texts}))
    network, tokenizer = plain(folder)
    contestants: dict[str, Callable[[], tuple[Texts, int]]] = {
        "millrace": lambda: written(ours.predict(examples.values)),
        "generate_padded": lambda: in_batches(network, tokenizer, examples.values),
        "generate_one_by_one": lambda: one_by_one(network, tokenizer, examples.values),
    }
    seconds: dict[str, list[Times]] = {name: [] for name in contestants}
    made: dict[str, tuple[Texts, int]] = {}
    for name in ("millrace", "generate_padded"):  # the first call pays for what later ones find
        contestants[name]()
    for number in range(rounds):
        for name, run in contestants.items():
            started = time.perf_counter(), time.process_time()
            made[name] = run()
            took = time.perf_counter() - started[0], time.process_time() - started[1]
            seconds[name].append(took)
            click.echo(f"round {number + 1}: {name} {took[0]:.2f} s, {took[1]:.2f} s of CPU")
    result = told(seconds, made, examples.lengths, Counter(ours.predict(examples.values)["finish"]))
    path = out / f"generation-{slug(cpu_model())}.json"  # compare.py reads *cores.json
    path.write_text(json.dumps(result, indent=2) + "\n")
    click.echo(json.dumps(result["medians"], indent=2))


def plain(folder: Path) -> tuple[Any, Any]:
    """The folder's network and tokenizer, as Transformers loads them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), tokenizer


def written(outputs: Any) -> tuple[Texts, int]:
    """The texts, and the tokens that were made for them."""
    return list(outputs["text"]), int(outputs["tokens_out"].sum())


@torch.inference_mode()
def one_by_one(
    network: Any, tokenizer: Any, prompts: Sequence[Any] | NDArray[Any]
) -> tuple[Texts, int]:
    """`generate` for each prompt alone."""
    texts, tokens = [], 0
    for prompt in prompts:
        ids = torch.as_tensor(np.asarray(prompt, np.int64))[None]
        mask = torch.ones_like(ids)
        found = network.generate(
            ids, attention_mask=mask, max_new_tokens=MAX_NEW_TOKENS, do_sample=False
        )[0, ids.shape[1] :]
        texts.append(tokenizer.decode(found, skip_special_tokens=True))
        tokens += len(found)
    return texts, tokens


@torch.inference_mode()
def in_batches(
    network: Any, tokenizer: Any, prompts: Sequence[Any] | NDArray[Any]
) -> tuple[Texts, int]:
    """`generate` for 64 prompts at a time, padded to the longest; all wait for the last one's end."""
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]), reverse=True)
    texts, tokens = [""] * len(prompts), 0
    for start in range(0, len(order), _PADDED_ROWS):
        rows = order[start : start + _PADDED_ROWS]
        padded = tokenizer.pad(
            {"input_ids": [prompts[at].tolist() for at in rows]}, return_tensors="pt"
        )
        found = network.generate(**padded, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        new = found[:, padded["input_ids"].shape[1] :]
        tokens += new.numel()
        for at, text in zip(
            rows, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True
        ):
            texts[at] = text
    return texts, tokens


def told(
    seconds: dict[str, list[Times]],
    made: dict[str, tuple[Texts, int]],
    lengths: Any,
    finish: Counter[str],
) -> dict[str, Any]:
    """What the JSON file says."""
    rows = len(lengths)
    wall_s, cpu_s = (
        {name: median(pair[at] for pair in times) for name, times in seconds.items()}
        for at in (0, 1)
    )
    base = "generate_one_by_one"
    expected = made[base][0]
    medians = {
        name: {
            "wall_s": round(wall_s[name], 3),
            "cpu_s": round(cpu_s[name], 3),
            "rows_per_s": round(rows / wall_s[name], 2),
            "tokens_out": made[name][1],
            "times_one_by_one": round(wall_s[base] / wall_s[name], 2),
            "times_one_by_one_by_cpu": round(cpu_s[base] / cpu_s[name], 2),
            "texts_that_differ": sum(a != b for a, b in zip(made[name][0], expected, strict=True)),
        }
        for name in seconds
    }
    return {
        "what": f"{rows} prompts, {MAX_NEW_TOKENS} new tokens at most, greedy, fp32, one thread",
        "model": _SIZE,
        "prompt_tokens": {
            "least": int(min(lengths)),
            "most": int(max(lengths)),
            "sum": int(sum(lengths)),
        },
        "finish": dict(finish),
        "medians": medians,
        "rounds": {
            name: [{"wall_s": round(w, 3), "cpu_s": round(c, 3)} for w, c in times]
            for name, times in seconds.items()
        },
        "machine": machine(),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
