"""What knows stacking: measures and figures of skills held fixed, and the sections of a report that show them."""
