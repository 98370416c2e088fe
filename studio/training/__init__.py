"""Training of mini, the model in the box."""
