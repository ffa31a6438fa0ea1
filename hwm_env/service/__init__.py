"""A world-model service: a checkpoint behind HTTP, `hwm-env serve`. Needs the extra "serve"."""
