"""What the images are: layouts, index, pixel store, near copies, subjects."""
