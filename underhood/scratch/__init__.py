"""The functions of the two books' chapters, written by hand and in the chapters' order."""
