"""Random programs over torch's functions, run by torch and by trtnet: they must agree."""
