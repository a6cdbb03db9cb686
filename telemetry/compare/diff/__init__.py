"""Two runs, or two groups: is the candidate worse?"""
