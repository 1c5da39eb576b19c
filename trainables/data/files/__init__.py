"""How files of images, masks and annotations are read, whatever wrote them."""
