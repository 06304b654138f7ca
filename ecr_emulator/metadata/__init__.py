"""What is known about repositories, images, layers and uploads: queries by noun over one database."""
