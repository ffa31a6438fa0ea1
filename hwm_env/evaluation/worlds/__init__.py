"""How true a world is: next clips, closed loops, poses, obstacles and commands, against the truth and baselines."""
