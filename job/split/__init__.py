"""Who is held out, which fold validates which image, whose labels self-training may see."""
