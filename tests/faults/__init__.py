"""Ways in which a partner fails, at every HTTP kind, in whole pipelines: the matrix of the README."""
