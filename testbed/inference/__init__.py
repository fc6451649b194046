"""What runs say about the next runs: intervals, significance, when to stop, in numbers and in words. Pure; knows nothing of GSE."""
