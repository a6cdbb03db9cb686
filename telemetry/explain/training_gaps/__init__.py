"""Is something like this in the training set?"""
