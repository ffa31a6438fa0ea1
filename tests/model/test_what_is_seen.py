"""Each future token depends on everything that the mask shows, above all on actions, and on nothing else."""

import pytest
import torch

from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.types import FRAMES_PER_CLIP
from tests.model.inputs import Inputs, random_inputs
from tests.model.options import named

pytestmark = pytest.mark.slow

PAST, FUTURE = 2, 2
VISIBLE, ROUNDING = 1e-6, 1e-11
FIRST_FRAMES_OF_LATENTS = (0, 1, 9)


def variants(model: MaskedHWM, seed: int) -> tuple[Inputs, list[tuple[str, int]]]:
    """Returns a batch whose first row is unchanged and whose other rows have one change each, with the changed clips.

    A change is to the tokens of a clip, or to the action of a latent's first frame.
    """
    inputs = random_inputs(model, batch=1, past=PAST, future=FUTURE, seed=seed)
    rows, changes = [inputs], []
    for time in range(PAST + FUTURE):
        suffix, clip = ("p", time) if time < PAST else ("f", time - PAST)
        video = getattr(inputs, f"v_{suffix}").clone()
        video[:, :, clip] = (video[:, :, clip] + 1) % model.config.codebook_size
        rows.append(inputs._replace(**{f"v_{suffix}": video}))
        changes.append(("video", time))
        frame = FIRST_FRAMES_OF_LATENTS[seed % 3]
        actions = getattr(inputs, f"a_{suffix}").clone()
        actions[:, clip * FRAMES_PER_CLIP + frame] += 3.0
        rows.append(inputs._replace(**{f"a_{suffix}": actions}))
        changes.append((f"action of frame {frame}", time))
    return Inputs(*(torch.cat(stream) for stream in zip(*rows, strict=True))), changes


def test_future_tokens_see_what_the_mask_shows_and_nothing_else(family: list[MaskedHWM]) -> None:
    for index, model in enumerate(family):
        inputs, changes = variants(model, seed=index)
        with torch.no_grad():
            logits = model(*inputs)
        change_of_token = (logits[:, 1:] - logits[:, :1]).abs().amax(dim=-1)
        for row, (what, time) in enumerate(changes):
            for clip in range(FUTURE):
                change = change_of_token[:, row, clip]
                message = f"{what} {time}, seen by clip {PAST + clip}: {named(model)}"
                if time <= PAST + clip or model.config.temporal_mask == "bidirectional":
                    assert change.min() > VISIBLE, message
                else:
                    assert change.max() < ROUNDING, message
