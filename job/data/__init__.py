"""What the images are: layout, index, pixel store, subjects, splits, demo cells."""
