"""What is the least that must change so that a wrong answer becomes right?"""
