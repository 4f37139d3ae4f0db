"""The training phases `head`, `top` and `deep`, and the loop they share."""
