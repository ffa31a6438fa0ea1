"""The masked video transformer: its configuration, network, presets and read-out."""
