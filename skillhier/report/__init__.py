"""Pages, figures, films, and the statistics of comparisons. Nothing here trains."""
