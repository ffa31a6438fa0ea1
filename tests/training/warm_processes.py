"""Does once, in the process that `tests.training.processes` are forked from, what each of them would do slowly."""

from hwm_env.training.world_model.estimate import training_cost
from tests.training.processes import RECIPES
from tests.training.worlds import MODEL

for recipe in RECIPES.values():
    training_cost(MODEL, recipe)
