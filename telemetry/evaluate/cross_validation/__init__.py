"""Which configuration wins over folds?"""
