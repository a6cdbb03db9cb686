"""The public views as portable SQL, one file each."""
