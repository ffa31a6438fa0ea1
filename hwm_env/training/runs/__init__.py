"""What all trainings share: the directory of a run, optimizers, schedules, reports and stopping."""
