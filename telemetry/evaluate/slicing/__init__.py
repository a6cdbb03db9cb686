"""Which group of examples is worst?"""
