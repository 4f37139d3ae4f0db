"""Face detection, tracking and deepfake scoring on single images; knows nothing of streams or workers."""
