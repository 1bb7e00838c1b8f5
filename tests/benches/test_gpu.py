from __future__ import annotations

import pytest
import torch

from benches import encoder, gpu


def test_without_a_gpu_it_says_so_and_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert gpu.main([]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err


def test_flops_are_what_torch_counts_for_the_same_layers() -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=encoder.HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=encoder.HEADS,
        intermediate_size=encoder.INTERMEDIATE,
        vocab_size=100,
        attn_implementation="eager",
    )
    network = BertModel(config, add_pooling_layer=False).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(input_ids=torch.ones((2, 8), dtype=torch.long))
    counted = counter.get_total_flops()
    assert encoder.flops(2, 8) / encoder.LAYERS == pytest.approx(counted, rel=1e-3)


def test_token_ids_are_seeded_and_none_is_padding() -> None:
    ids = encoder.token_ids(3)
    assert ids.shape == (3, encoder.TOKENS)
    assert (ids == encoder.token_ids(3)).all()
    assert ids.min() > 0


@pytest.mark.gpu
def test_speed_is_measured_on_the_device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert gpu.device()["matmul_flop_per_s"] > 1e12
