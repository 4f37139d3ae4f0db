"""Training phases `head`, `top` and `deep`, and the training loop they share."""
