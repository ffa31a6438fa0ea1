"""The model card of a checkpoint on the Hugging Face Hub."""

import json
from collections.abc import Mapping

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.robot import Robot
from hwm_env.types import CLIP_DURATION_S


def model_card(
    repo_id: str,
    config: MaskedHWMConfig,
    *,
    num_parameters: int,
    image_size: int,
    tokenizer: str,
    robot: Robot,
    provenance: Mapping[str, object],
) -> str:
    """Returns the model card in Markdown.

    Args:
        repo_id: owner/name.
        config: configuration of the model.
        num_parameters: number of parameters of the world model.
        image_size: height of the frames in pixels.
        tokenizer: identity of the tokenizer.
        robot: the robot.
        provenance: how the checkpoint was made, shown as JSON.
    """
    rows, columns = config.grid_size
    arguments = f'checkpoint="{repo_id}", task=None'
    if tokenizer.startswith("cosmos"):
        arguments += ', tokenizer="directory with NVIDIA\'s encoder.jit and decoder.jit"'
    return f"""---
library_name: hwm-env
pipeline_tag: robotics
tags:
- world-model
- humanoid
- reinforcement-learning
- gymnasium
---

# {repo_id}

A learned simulator of a humanoid robot: a masked video transformer (after arXiv 2506.01182), used as the
[Gymnasium](https://gymnasium.farama.org) environment `HWM-v0`. It predicts the robot's camera from its past and from
chunks of 17 actions of {len(robot.joints)} numbers each; a step is 17 frames, {CLIP_DURATION_S:.3f} s of robot time.

```python
import gymnasium
import hwm_env

env = gymnasium.make("HWM-v0", {arguments})
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
```

| | |
| --- | --- |
| robot | {robot.name}: {", ".join(f"`{name}`" for name in robot.names)} |
| parameters | {num_parameters / 1e6:.1f} M |
| frames | {image_size} pixels high, {rows} x {columns} tokens a latent |
| history | up to {config.num_past_clips} clips |
| tokenizer | `{tokenizer}` |

How it was made:

```json
{json.dumps(dict(provenance), indent=2)}
```
"""
