"""What a study leaves for readers: the numbers of the paper, and the paper."""
