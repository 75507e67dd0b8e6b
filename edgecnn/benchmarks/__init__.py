"""Run exported files: their accuracy, how close they are to the original, and what they cost."""
