"""What skills that were learned in imagination do: held fixed, and as their agent chooses them."""
