"""Data without logic: model cards, the sampler table, training recipes, the model in the box."""
