"""Rendered clips are the most probable of all tokens."""

import itertools

import pytest
import torch

from hwm_env.scene import rendering
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.rendering import PosedClips, most_probable, render_clips

LEVELS = (3, 2, 2)
SMALL = MapConfig(cell_m=1.0, cell_height_m=1.0, channels=2, hidden=4, features=4, samples=2)


class Echo:
    """A tokenizer whose frames are its tokens."""

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


@pytest.fixture
def model() -> SceneModel:
    torch.manual_seed(0)
    config = SceneConfig(fsq_levels=LEVELS, grid_size=(2, 3), width=8, conv_groups=1, num_blocks=1, map=SMALL)
    model = SceneModel(config)
    with torch.no_grad():
        for weight in model.head.parameters():
            weight.add_(torch.randn_like(weight))
    return model.eval()


def random_clips(count: int) -> PosedClips:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(12, (count, 3, 2, 3), generator=generator).int()
    return PosedClips(tokens, torch.randn(count, 3, 3, generator=generator), torch.randn(count, 3, 25))


def test_no_other_token_is_more_probable(model: SceneModel) -> None:
    clips = random_clips(2)
    logits = model(clips.poses, clips.numbers)
    losses = [model.head.cross_entropy(logits, torch.full_like(clips.tokens, code)) for code in range(12)]
    chosen = most_probable(model, logits)
    assert chosen.dtype == torch.int32
    assert torch.equal(chosen.long(), torch.stack(losses).argmin(dim=0))
    assert len(chosen.unique()) > 2


def test_clips_are_rendered_at_their_own_poses(model: SceneModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "RENDERED_AT_ONCE", 2)
    clips = random_clips(5)
    rendered = render_clips(model, clips, Echo())  # type: ignore[arg-type]
    for row, (tokens, poses, numbers) in enumerate(zip(*clips, strict=True)):
        logits = model(poses[None], numbers[None])
        probability = torch.zeros(3, 2, 3)
        for at in itertools.product(range(3), range(2), range(3)):
            parts = [part[0][at].softmax(-1) for part in model.head.split(logits)]
            digits = model.head.fsq.codes_to_digits(tokens[at])
            probability[at] = torch.stack([p[d] for p, d in zip(parts, digits, strict=True)]).prod()
        torch.testing.assert_close(rendered.losses[row], -probability.log().mean())
        assert torch.equal(rendered.frames[row], most_probable(model, logits)[0])
