"""The wall between a tool worker and the tools of strangers: values in `base`, the way in through `opening`."""
