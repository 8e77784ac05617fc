"""PhotoMaker (Li et al. 2023, arXiv:2312.04461): pictures of a person become part of the word that names them in a prompt."""
