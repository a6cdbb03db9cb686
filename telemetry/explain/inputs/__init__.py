"""What goes into a model: data sets of the user, single files, and the parts of an input."""
