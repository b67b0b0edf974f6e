"""Human feedback: files of other people's votes in and out, and what is done with votes."""
