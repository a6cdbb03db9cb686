"""What the page of each kind of answer draws, one kind a file: its curves and its tables."""
