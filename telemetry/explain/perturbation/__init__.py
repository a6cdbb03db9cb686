"""One thing of an input is changed, more and more: when does the answer turn wrong?"""
