"""What runs say about the next runs: intervals, significance, when to stop. Pure; knows nothing of GSE."""
