"""Each statistic a pure function on arrays; the file names the paper behind it."""
