import pytest
import torch

from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig

TINY = TinyTokenizerConfig(
    fsq_levels=(4, 3),
    coarse_width=16,
    fine_width=8,
    frame_width=8,
    pixel_width=4,
    encoder_blocks=(1, 1),
    decoder_blocks=(1, 1, 1),
)


@pytest.fixture
def tokenizer() -> TinyTokenizer:
    """A small tokenizer with random weights in every layer, so that every possible leak shows."""
    tokenizer = TinyTokenizer(TINY)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return tokenizer.eval()


@pytest.fixture
def clips() -> torch.Tensor:
    """Noise, uint8 [2, 17, 16, 24, 3]."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 17, 16, 24, 3), dtype=torch.uint8, generator=generator)
