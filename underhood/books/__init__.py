"""The books' printed figures, each beside the code that computes ours. The rest of the package imports none of this."""
