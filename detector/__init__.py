"""What one picture says about the faces on it. Knows images, not streams."""
