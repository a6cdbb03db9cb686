"""What is wrong with the answers of a model, on one page?"""
