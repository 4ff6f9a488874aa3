"""What people look at: pages, figures, films, and the statistics that comparisons rest on. Nothing here trains."""
