"""One file per stage: a coroutine over one value, as the paper states it; and the rules that stages share."""
