"""How policies do in a world, and how far what they do in the learned one agrees with the truth."""
