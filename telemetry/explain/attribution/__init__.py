"""Which parts of one input made the model say that?"""
