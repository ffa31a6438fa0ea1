"""A small untrained checkpoint with a scene, which is converted in seconds."""

from dataclasses import replace
from typing import cast

import torch

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.config import DecodingConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.starts import Starts
from tests.scene.scenes import CAMERA, CONFIG, make_checkpoint, make_scene

NUM_PAST_CLIPS = 3
SAMPLED = DecodingConfig(steps=2, temperature=1.0, history="streaming")
GREEDY = DecodingConfig(steps=1, temperature=0.0, history="streaming")


def small_checkpoint(decoding: DecodingConfig = SAMPLED, *, reads_scene: bool = False) -> Checkpoint:
    """Returns the checkpoint, in which robots drive into walls.

    Either the model reads the scene's inputs, or the scene's logits have most weight after the first env step.
    """
    config = replace(CONFIG, camera=CAMERA, fsq_levels=(8, 8, 8, 5, 5, 5))
    scene = make_scene(walls=True, config=config, history_weights=(1.0,) if reads_scene else (0.5, 0.2))
    checkpoint = make_checkpoint(scene, decoding=decoding)
    shape = {"num_layers": 1, "num_past_clips": NUM_PAST_CLIPS, "scene_width": scene.input_width if reads_scene else 0}
    model = MaskedHWM(replace(checkpoint.model.config, **shape), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    starts = checkpoint.starts
    for module in (model, checkpoint.scene, checkpoint.tokenizer, checkpoint.readout):
        # As in the files of a saved checkpoint, whose converted functions are then the same.
        for weight in cast(torch.nn.Module, module).state_dict().values():
            weight.copy_(weight.half())
    short = Starts(starts.tokens[:, -NUM_PAST_CLIPS:], starts.actions[:, -NUM_PAST_CLIPS:], starts.poses)
    return replace(checkpoint, model=model.eval(), starts=short)
