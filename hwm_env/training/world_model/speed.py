"""How fast a training is, compared with what its device could do."""

from typing import NamedTuple


class Speed(NamedTuple):
    """The operations of a training step, and the rate at which the device multiplies large matrices."""

    batch_size: int
    step_flops: int
    matrix_rate: float
    """Operations a second, in the precision of the training."""

    def numbers(self, steps: int, seconds: float) -> dict[str, float]:
        """Returns samples a second, and the share of the matrix rate that the model's operations reach.

        Own predictions, draws and the scene's inputs take time and do not count as operations of the model.
        """
        rate = steps / seconds
        return {"samples_per_s": rate * self.batch_size, "matrix_share": rate * self.step_flops / self.matrix_rate}
