"""One file per stage: a coroutine over one value, written as the paper states it; and the rules that stages share."""
