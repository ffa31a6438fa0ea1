"""The same drive in a browser, for machines without a screen: `python -m demos.serve`."""
